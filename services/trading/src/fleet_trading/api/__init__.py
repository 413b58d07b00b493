"""HTTP: shape in, one use case, shape out."""

from .context import Trading
from .internal import router as internal
from .orders import hot
from .orders import router as orders
from .reads import router as reads

ROUTERS = (hot, orders, reads, internal)

__all__ = ["ROUTERS", "Trading"]
