"""The trading-state gate: what a service that must stop keeps, hears and obeys."""

from .gate import Gate
from .states import States, state_key, strictest
from .store import change_of

__all__ = ["Gate", "States", "change_of", "state_key", "strictest"]
