"""core-engine's routes: the kill switch, and how the fleet is."""

from .kill_switch import Targets, kill_switch_router
from .status import status_router

__all__ = ["Targets", "kill_switch_router", "status_router"]
