"""What the venue's word settles of a comparison that ended unresolved, and what it cannot. Pure."""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from .reconciliation import Difference, Ending, Reconciliation

NOT_AT_VENUE = "not_at_venue"
"""The code of an order's end: we had it for open, and its venue does not have it."""

_TO_DO = {
    "ended_here_open_there": "cancel the order at the venue",
    "fill_differs": "have the venue correct or bust the trade",
    "totals": "have the venue correct or bust the trade that is wrong",
    "terms": "replace or cancel the order at the venue",
}


class NotAccepted(Exception):
    """`code`: not_unresolved, venue_must_mend."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Word(NamedTuple):
    """The orders that the venue does not have, by how much more accounts hold there, and its fills of no order of ours."""

    orders: tuple[UUID, ...]
    positions: tuple[tuple[UUID, Decimal], ...]
    fills: tuple[tuple[UUID, str], ...]


def word_of(named: Reconciliation, last: Reconciliation | None) -> Word:
    """What is to be done so that nothing is left of the one named. Raises NotAccepted.

    `last`: the last of its venue and symbol that has ended. It may be another one, for a venue in doubt is asked every
    minute, as long as it has left the same: then the word is about what the person has seen."""
    is_current = last is not None and last.outcome is Ending.UNRESOLVED and set(last.left) == set(named.left)
    if named.outcome is not Ending.UNRESOLVED or not is_current:
        raise NotAccepted("not_unresolved", "A comparison after it found something else, or it left nothing.")
    return _word(named.left)


def _word(left: Iterable[Difference]) -> Word:
    orders: list[UUID] = []
    positions: list[tuple[UUID, Decimal]] = []
    fills: list[tuple[UUID, str]] = []
    for one in left:
        match one:
            case Difference(kind="not_open_there", venue_order_ref=UUID() as ref):
                orders.append(ref)
            case Difference(
                kind="position", account_id=UUID() as account_id, here=Decimal() as here, there=Decimal() as there
            ):
                # By how much, not what: fills that came since are counted on both sides.
                positions.append((account_id, there - here))
            case Difference(kind="unknown_fill", venue_order_ref=UUID() as ref, venue_trade_id=str() as name):
                fills.append((ref, name))
            case _:
                to_do = _TO_DO.get(one.kind, "wait for the next comparison")
                of = "" if one.venue_order_ref is None else f" of venue order {one.venue_order_ref}"
                raise NotAccepted("venue_must_mend", f"{one.kind}{of}: {one.detail}; {to_do}.")
    return Word(tuple(orders), tuple(positions), tuple(fills))
