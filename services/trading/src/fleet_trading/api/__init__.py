"""HTTP: shape in, one use case, shape out."""

from .cancel_after import router as cancel_after
from .context import Trading
from .internal import router as internal
from .money import internal as money_internal
from .money import router as money
from .order_events import router as order_events
from .orders import router as orders
from .portfolio import router as portfolio
from .reads import router as reads
from .risk import router as risk

ROUTERS = (orders, cancel_after, order_events, reads, portfolio, money, risk, internal, money_internal)

__all__ = ["ROUTERS", "Trading"]
