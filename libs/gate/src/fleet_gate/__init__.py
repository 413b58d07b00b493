"""The trading-state gate: what a service that must stop keeps, hears and obeys."""

from .gate import Gate
from .states import States, state_key

__all__ = ["Gate", "States", "state_key"]
