"""Comparing what a venue has with what we know: the union of both sides, and what is done about each difference. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID, uuid5

from msgspec import Struct
from msgspec.structs import replace

from .order import VenueOrder, adopted
from .values import Accepted, Cancel, Filled, OrderKey, Outcome, Replaced, Stand, Terms, Totals, Triggered

MOST_ATTEMPTS = 3
"""So often in a row a venue is asked about differences before a person should look."""
MOST_LISTED = 500
"""Orders, fills, and positions in one answer of a venue: about 450 bytes each, 100 those of a position, so that it stays
below the 900 kB of a record."""
REMEMBERED = timedelta(days=90)
"""What ended longer ago than this is forgotten."""
_SURELY_KNOWN = REMEMBERED - timedelta(days=1)
"""Venues have clocks of their own, and what is forgotten goes an hour later than it may."""


def is_forgotten(executed_at: datetime, now: datetime) -> bool:
    """Whether a fill of no order known here is one of an order that was: a venue in which nothing has filled since lists it
    for ever, as the last there is. That nothing is missed by it is seen by what accounts hold."""
    return executed_at < now - _SURELY_KNOWN


class Cause(StrEnum):
    START = "start"
    RECONNECT = "reconnect"
    CONTINUOUS = "continuous"
    DOUBT = "doubt"


class Ending(StrEnum):
    """`asked`: the venue has not answered yet. Only `clean` and `mended` end a doubt; `accepted`: it was unresolved, an
    administrator has taken the venue's word, and the next one says whether anything is left."""

    ASKED = "asked"
    CLEAN = "clean"
    MENDED = "mended"
    UNRESOLVED = "unresolved"
    ACCEPTED = "accepted"
    UNANSWERED = "unanswered"


class Listed(Struct, frozen=True):
    """An order as its venue has it. `totals` are those of its fills, where the venue tells them; `is_triggered`: the price
    that it waited for has come."""

    ref: UUID
    account_id: UUID
    user_id: UUID
    terms: Terms
    stand: Stand
    totals: Totals | None
    is_triggered: bool = False


class Listing(Struct, frozen=True):
    """One answer of a venue: a page of its open orders in one symbol, fills since the one asked for, and a page of what
    accounts hold (None: the venue does not tell)."""

    query_id: UUID
    venue: str
    symbol: str
    market_at: datetime
    orders: tuple[Listed, ...]
    has_more_orders: bool
    fills: tuple[tuple[UUID, Filled], ...]
    has_more_fills: bool
    last_trade_id: str | None
    positions: tuple[tuple[UUID, Decimal], ...] | None = None
    has_more_positions: bool = False


class Difference(Struct, frozen=True):
    """`kind`: unknown_order, unknown_fill, accept_missing, fill_missing, fill_differs, trigger_missing, terms,
    ended_here_open_there, totals, not_open_there; and position, which is of an account and of no order.

    `venue_trade_id`: of unknown_fill and fill_differs. `here`, `there`: what is held, of position. `attempt`: the last
    that found it."""

    kind: str
    venue_order_ref: UUID | None
    detail: str
    is_mended: bool
    account_id: UUID | None = None
    venue_trade_id: str | None = None
    here: Decimal | None = None
    there: Decimal | None = None
    attempt: int = 1


class Reconciliation(Struct, frozen=True):
    """One comparison with one venue in one symbol: asked, mended and asked again until nothing is left to mend.

    `asked_at`: when its last question was put; each page is asked for by one of its own. `after`, `since_trade_id` and
    `positions_after` say what part of its books that question asks for."""

    reconciliation_id: UUID
    venue: str
    symbol: str
    cause: Cause
    asked_at: datetime
    since_trade_id: str | None
    outcome: Ending = Ending.ASKED
    attempt: int = 1
    page: int = 0
    after: UUID | None = None
    last_trade_id: str | None = None
    open_differences: int = 0
    """Of this attempt, not mended yet."""
    differences: tuple[Difference, ...] = ()
    ended_at: datetime | None = None
    positions_after: UUID | None = None

    @property
    def query_id(self) -> UUID:
        """Of the question that is open; an answer to another one comes too late."""
        return uuid5(self.reconciliation_id, f"{self.attempt}:{self.page}")

    @property
    def left(self) -> tuple[Difference, ...]:
        """What it could not mend."""
        return tuple(difference for difference in self.differences if not difference.is_mended)

    def accepted(self) -> "Reconciliation":
        """What it could not mend is settled by the venue's word."""
        return replace(self, outcome=Ending.ACCEPTED, differences=_mended(self.differences))

    def unanswered(self, *, now: datetime) -> "Reconciliation":
        return replace(self, outcome=Ending.UNANSWERED, ended_at=now)

    def noted(self, listing: Listing, found: Sequence[Difference], *, now: datetime) -> "Reconciliation":
        """With what an answer showed: on to the next page, to the next attempt, or ended."""
        unmended = sum(not difference.is_mended for difference in found) + self.open_differences
        noted = replace(
            self,
            differences=_kept(self.differences, (replace(one, attempt=self.attempt) for one in found)),
            last_trade_id=listing.last_trade_id if self.page == 0 or self.since_trade_id else self.last_trade_id,
        )
        if listing.has_more_orders or listing.has_more_fills or listing.has_more_positions:
            return replace(
                noted,
                page=self.page + 1,
                asked_at=now,
                after=listing.orders[-1].ref if listing.has_more_orders else _LAST,
                since_trade_id=listing.last_trade_id if listing.has_more_fills else None,
                positions_after=self._positions_after(listing),
                open_differences=unmended,
            )
        if unmended and self.attempt < MOST_ATTEMPTS:
            again = replace(noted, attempt=self.attempt + 1, page=0, after=None, positions_after=None)
            return replace(again, asked_at=now, open_differences=0)
        if unmended:
            # What only an attempt before this found, its questions have mended.
            left = tuple(d if d.attempt == self.attempt else replace(d, is_mended=True) for d in noted.differences)
            return replace(noted, outcome=Ending.UNRESOLVED, differences=left, open_differences=unmended, ended_at=now)
        # What an attempt before this could not mend, its questions have: nothing of it is found any more.
        mended = _mended(noted.differences)
        outcome = Ending.MENDED if mended else Ending.CLEAN
        return replace(noted, outcome=outcome, differences=mended, ended_at=now)

    def _positions_after(self, listing: Listing) -> UUID | None:
        """Of the next page. As long as fills are still to come, what is held is not compared, and asked for again."""
        if listing.has_more_fills:
            return self.positions_after
        return listing.positions[-1][0] if listing.positions and listing.has_more_positions else _LAST


def next_cause(
    last: Reconciliation | None, doubted_since: datetime | None, *, now: datetime, every: timedelta
) -> Cause | None:
    """Why the venue is to be asked about a symbol now, None where it is not. A question that is open stands so long, and a
    comparison as long as its questions are answered."""
    if last is None:
        return Cause.START
    if last.outcome is not Ending.ASKED and doubted_since is not None and doubted_since > last.asked_at:
        return Cause.DOUBT if last.ended_at is not None and doubted_since <= last.ended_at else Cause.RECONNECT
    if now - last.asked_at < every:
        return None
    return Cause.CONTINUOUS if doubted_since is None else Cause.DOUBT


_LAST = UUID(int=(1 << 128) - 1)
MOST_DIFFERENCES = 1_000
"""Kept of one reconciliation; more are mended all the same."""


def _kept(before: tuple[Difference, ...], found: Iterable[Difference]) -> tuple[Difference, ...]:
    """Each difference once, however many attempts it took."""
    by_name = {(d.kind, d.venue_order_ref, d.account_id, d.venue_trade_id): d for d in (*before, *found)}
    return tuple(by_name.values())[:MOST_DIFFERENCES]


def _mended(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple(replace(difference, is_mended=True) for difference in differences)


Review = tuple[VenueOrder, tuple[Outcome, ...], tuple[Difference, ...]]


def review(
    order: VenueOrder | None, listing: Listing, listed: Listed, *, now: datetime, may_grow: bool = False
) -> Review:
    """Our side of an order that the venue lists: ours after its word, what follows, and where the two differed."""
    at, ref = listing.market_at, listed.ref
    if order is None:
        key = OrderKey(uuid5(ref, "adopted"), listed.account_id, listed.user_id, listing.symbol, listing.venue, ref)
        found = adopted(key, listed.terms, listed.stand, market_at=at, now=now)
        if listed.is_triggered:
            found = replace(found, triggered_at=now)
        return found, (), (Difference("unknown_order", ref, "the venue has an order that we did not send", True),)
    if order.stand.is_terminal and listed.stand is Stand.WORKING:
        # Whatever it may still fill would come as a surprise: it has to go.
        detail = f"the venue works an order that has ended here, was {order.stand}"
        return (
            order,
            (Cancel(order.command_sequence),),
            (Difference("ended_here_open_there", ref, detail, False),),
        )
    outcomes: list[Outcome] = []
    differences: list[Difference] = []
    if order.stand is Stand.SENT:
        order, told = order.learn(Accepted(at), now=now)
        outcomes += told
        differences.append(Difference("accept_missing", ref, "the venue has taken it and we had not heard", True))
    # Of an order whose price is watched here its venue knows no stop.
    ours, theirs = _terms(order.terms), _terms(listed.terms)
    if listed.stand is Stand.WORKING and (ours != theirs if order.trigger is None else ours[:2] != theirs[:2]):
        terms, filled = listed.terms, order.cumulative_quantity
        fact = Replaced(at, terms.quantity, terms.limit_price, terms.conditions.stop_price, filled)
        detail = f"the venue works it as {theirs}, was {ours}"
        order, told = order.learn(fact, now=now, may_grow=may_grow)
        outcomes += told
        differences.append(Difference("terms", ref, detail, True))
    if listed.is_triggered and order.triggered_at is None and order.trigger is None:
        detail = "the price that it waits for has come, and we had not heard"
        differences.append(Difference("trigger_missing", ref, detail, True))
        if order.terms.conditions.stop_price is None:
            # At which price a trailing stop was triggered the venue does not tell any more, and we do not make one up.
            order = replace(order, triggered_at=now, updated_at=now)
        else:
            order, told = order.learn(Triggered(at, order.terms.conditions.stop_price), now=now)
            outcomes += told
    return order, tuple(outcomes), tuple(differences)


def compare(order: VenueOrder, listed: Listed) -> Difference | None:
    """The invariants, the same here and there: quantity, average price (by the sum it is of), P&L (by that and the fees)."""
    if listed.totals is None:
        return None
    ours, theirs = order.totals, listed.totals
    if (ours.quantity, ours.notional, ours.fees) == (theirs.quantity, theirs.notional, theirs.fees):
        return None
    detail = (
        f"filled {theirs.quantity:f} for {theirs.notional:f} and fees of {theirs.fees:f} there,"
        f" was {ours.quantity:f} for {ours.notional:f} and {ours.fees:f} here"
    )
    return Difference("totals", listed.ref, detail, False)


def compare_fill(ref: UUID, ours: Filled, theirs: Filled) -> Difference | None:
    """The same trade must be the same one, also of an order that has ended."""
    if _figures(ours) == _figures(theirs):
        return None
    detail = f"{ours.venue_trade_id} is {_shown(theirs)} there, was {_shown(ours)} here"
    return Difference("fill_differs", ref, detail, False, venue_trade_id=ours.venue_trade_id)


def _figures(fill: Filled) -> tuple[Decimal, Decimal, Decimal]:
    return fill.last_quantity, fill.last_price, fill.fee


def _shown(fill: Filled) -> str:
    return "{:f} at {:f} and a fee of {:f}".format(*_figures(fill))


def compare_positions(ours: Mapping[UUID, Decimal], theirs: Mapping[UUID, Decimal]) -> list[Difference]:
    """What accounts hold by all fills, here and there: it shows also what is wrong with orders that have ended."""
    found: list[Difference] = []
    for account_id in sorted(ours.keys() | theirs.keys()):
        here, there = ours.get(account_id, Decimal(0)), theirs.get(account_id, Decimal(0))
        if here != there:
            detail = f"the account holds {there:f} there, was {here:f} here"
            found.append(Difference("position", None, detail, False, account_id, here=here, there=there))
    return found


def _terms(terms: Terms) -> tuple[Decimal | None, ...]:
    return terms.quantity, terms.limit_price, terms.conditions.stop_price
