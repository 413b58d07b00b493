"""The venue's routes."""

from .exchanges import exchanges_router, replays_router
from .trades import trades_router

__all__ = ["exchanges_router", "replays_router", "trades_router"]
