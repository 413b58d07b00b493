"""Where an order can stand, what can be pending on it, and every way from one to another: two tables, and no other place.

A stand is what is true of an order. Pending is what its venue has been asked for and has not answered; a cancel that is
asked for lies upon a replace without an answer, and a replace upon an order that its venue has not taken yet, so that a
refusal uncovers what is beneath. API.md's one word is the pending one of an open order, else the stand (`Order.status`).
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from .values import TERMINAL, Pending, Reason, Stand


class Step(StrEnum):
    """What can happen to an order that is placed."""

    ACCEPTED = "accepted"
    TRIGGERED = "triggered"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    CANCEL_REQUESTED = "cancel_requested"
    CANCEL_REFUSED = "cancel_refused"
    REPLACE_REQUESTED = "replace_requested"
    REPLACED = "replaced"
    REPLACE_REFUSED = "replace_refused"
    CHANGED = "changed"
    """By its venue, unasked."""
    UNANSWERED = "unanswered"
    TRADE_CORRECTED = "trade_corrected"
    TRADE_REDUCED = "trade_reduced"
    """Corrected or busted, so that a filled order is not full any more."""
    TRADE_BUSTED = "trade_busted"
    """And nothing is filled any more."""


class Transition(NamedTuple):
    """One step of an order: its version and status after it, and the cause."""

    version: int
    at: datetime
    step: str
    status: str
    reason: Reason | None = None
    trade_id: UUID | None = None


_N, _P, _F, _C = Stand.NEW, Stand.PARTIALLY_FILLED, Stand.FILLED, Stand.CANCELED
_KEEPS = (_N, _P, _F, None)
STANDS: dict[Step, tuple[Stand | None, ...]] = {
    # from:                 new  partially_filled  filled  ended otherwise (None: stays)
    Step.ACCEPTED: _KEEPS,
    Step.TRIGGERED: _KEEPS,
    Step.PARTIALLY_FILLED: (_P, _P, _F, None),
    Step.FILLED: (_F, _F, _F, _F),
    Step.CANCELED: (_C, _C, _F, None),
    Step.EXPIRED: (Stand.EXPIRED, Stand.EXPIRED, _F, None),
    Step.REJECTED: (Stand.REJECTED, Stand.REJECTED, _F, None),
    Step.CANCEL_REQUESTED: _KEEPS,
    Step.CANCEL_REFUSED: _KEEPS,
    Step.REPLACE_REQUESTED: _KEEPS,
    Step.REPLACED: _KEEPS,
    Step.REPLACE_REFUSED: _KEEPS,
    Step.CHANGED: _KEEPS,
    Step.UNANSWERED: _KEEPS,
    Step.TRADE_CORRECTED: (_P, _P, _F, None),
    Step.TRADE_REDUCED: (_P, _P, _C, None),
    Step.TRADE_BUSTED: (_N, _N, _C, None),
}
_STAND_COLUMNS = {Stand.NEW: 0, Stand.PARTIALLY_FILLED: 1, Stand.FILLED: 2}

_NONE, _NEW, _CANCEL, _REPLACE = Pending.NONE, Pending.NEW, Pending.CANCEL, Pending.REPLACE
_HEARD = (_NONE, _NONE, _CANCEL, _REPLACE)
_SAME = (_NONE, _NEW, _CANCEL, _REPLACE)
PENDING: dict[Step, tuple[Pending | None, ...]] = {
    # from:                none    new      cancel   replace (None: what is beneath); of an order that has ended: none
    Step.ACCEPTED: _HEARD,
    Step.TRIGGERED: _HEARD,
    Step.PARTIALLY_FILLED: _HEARD,
    Step.CANCEL_REQUESTED: (_CANCEL, _CANCEL, _CANCEL, _CANCEL),
    Step.CANCEL_REFUSED: (_NONE, _NEW, None, _REPLACE),
    Step.REPLACE_REQUESTED: (_REPLACE, _REPLACE, _CANCEL, _REPLACE),
    Step.REPLACED: (_NONE, _NONE, _CANCEL, None),
    Step.REPLACE_REFUSED: (_NONE, _NEW, _CANCEL, None),
    Step.CHANGED: _HEARD,
    Step.UNANSWERED: _SAME,
    Step.TRADE_CORRECTED: _SAME,
    Step.TRADE_REDUCED: _SAME,
    Step.TRADE_BUSTED: _SAME,
}
_PENDING_COLUMNS = {_NONE: 0, _NEW: 1, _CANCEL: 2, _REPLACE: 3}


def after(step: Step, stand: Stand, pending: Pending, beneath: Pending) -> tuple[Stand, Pending]:
    """Where an order stands after a step, and what is pending then; `beneath` what is pending lies upon."""
    new = STANDS[step][_STAND_COLUMNS.get(stand, 3)] or stand
    if new in TERMINAL:
        return new, Pending.NONE
    return new, PENDING[step][_PENDING_COLUMNS[pending]] or beneath
