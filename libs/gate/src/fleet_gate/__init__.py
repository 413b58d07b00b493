"""The gate: what a service that must stop, or cancel after a time, keeps, hears and obeys."""

from .cutoffs import Cutoffs
from .deadlines import LAST_GATES, Deadlines
from .deadlines_store import set_cancel_after
from .gate import GATES, Gate
from .states import States, state_key, strictest
from .store import change_of
from .telling import Gates, InstanceTold, StateGates, StateTold
from .whenever import whenever

__all__ = [
    "GATES",
    "LAST_GATES",
    "Cutoffs",
    "Deadlines",
    "Gate",
    "Gates",
    "InstanceTold",
    "StateGates",
    "StateTold",
    "States",
    "change_of",
    "set_cancel_after",
    "state_key",
    "strictest",
    "whenever",
]
