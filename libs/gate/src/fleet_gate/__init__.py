"""The trading-state gate: what a service that must stop keeps, hears and obeys."""

from .gate import GATES, Gate
from .states import States, state_key, strictest
from .store import change_of

__all__ = ["GATES", "Gate", "States", "change_of", "state_key", "strictest"]
