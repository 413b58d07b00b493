"""HTTP: shape in, one use case, shape out."""

from .context import Trading
from .internal import router as internal
from .orders import router as orders
from .reads import router as reads

ROUTERS = (orders, reads, internal)

__all__ = ["ROUTERS", "Trading"]
