"""Comparing with the venues: what they say of themselves, rounds of questions, and what their answers change."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from fleet_execution.domain import OrderKey
from fleet_execution.domain.reconciliation import (
    MOST_LISTED,
    Cause,
    Difference,
    Ending,
    Listing,
    Reconciliation,
    compare,
    compare_fill,
    compare_positions,
    is_forgotten,
    next_cause,
    review,
)
from fleet_execution.ports import ComparingUnitOfWork, Told, VenueState

from .groups import may_grow
from .learning import learn, learnt

MOST_SYMBOLS = 50
"""Asked about in one round; the rest follows in the next."""
ROUND = timedelta(seconds=5)
LONGEST_TRANSACTION = timedelta(seconds=10)
"""The `transaction_timeout` of the services' roles."""


async def learn_status(uow: ComparingUnitOfWork, venue: str, state: VenueState) -> None:
    """A venue that was away is in doubt until it has been compared with, symbol by symbol."""
    before = await uow.venue_state(venue)
    uow.keep_venue_state(venue, state)
    if before is not None and before._replace(heard_at=state.heard_at) == state:
        return
    if not state.is_connected:
        uow.doubt(venue, "", "the venue is not connected")
    elif state.can_list:
        uow.look_again(venue, uow.now)
    else:
        # There is nothing to compare: that it is back is all it can say.
        uow.trust(venue, "")


def hear_of_unknown(uow: ComparingUnitOfWork, venue: str, symbol: str) -> None:
    """The venue speaks of an order that we did not send: what it is, and what it has filled, its books will tell."""
    uow.doubt(venue, symbol, "the venue speaks of an order that is not known here")
    uow.look_again(venue, uow.now)


async def is_reachable(
    uow: ComparingUnitOfWork, venue: str, *, listening_since: datetime, silent_after: timedelta
) -> bool:
    """Whether it can be compared with now. One that has fallen silent is away like one that says so; what it says when it
    is back begins the next round."""
    state = await uow.venue_state(venue)
    if state is None or not state.can_list or not state.is_connected:
        return False
    # While we were away ourselves we could not hear it.
    if uow.now - max(state.heard_at, listening_since) > silent_after:
        uow.keep_venue_state(venue, state._replace(is_connected=False))
        uow.doubt(venue, "", f"the venue has said nothing of itself for {silent_after.total_seconds():g} s")
        return False
    return True


async def look_round(
    uow: ComparingUnitOfWork, venue: str, listed: Iterable[str], *, is_start: bool, every: timedelta, within: timedelta
) -> None:
    """Asks about the symbols whose turn it is; the next round follows."""
    uow.look_again(venue, uow.now + ROUND)
    doubts = dict(await uow.doubts(venue))
    # Also one that is listed no more, and has nothing open: no other question ends its doubt.
    symbols = sorted({*listed, *(await uow.open_symbols(venue)), *doubts} - {""})
    latest = await uow.latest(venue, symbols)
    is_back = "" in doubts
    if is_back:
        since = doubts.pop("")
        uow.trust(venue, "")
        for symbol in symbols:
            if symbol not in doubts:
                uow.doubt(venue, symbol, "the venue was away")
            doubts[symbol] = max(since, doubts.get(symbol, since), uow.now)
    asked = 0
    for symbol in sorted(
        symbols, key=lambda symbol: (symbol in latest, latest[symbol].asked_at if symbol in latest else uow.now)
    ):
        last = latest.get(symbol)
        if is_back:
            # Also where a question is open: it may have been lost with the connection.
            cause: Cause | None = Cause.RECONNECT
        else:
            cause = Cause.START if is_start else next_cause(last, doubts.get(symbol), now=uow.now, every=every)
        if last is not None and last.outcome is Ending.ASKED:
            if symbol not in doubts and uow.now - last.asked_at > within:
                uow.doubt(venue, symbol, "the venue does not answer")
            if cause is not None and cause is not Cause.START:
                uow.keep_reconciliation(last.unanswered(now=uow.now))
        is_asked = cause is Cause.START and last is not None and last.outcome is Ending.ASKED
        if cause is None or asked == MOST_SYMBOLS or is_asked:
            continue
        asked += 1
        await begin(uow, venue, symbol, cause)


async def begin(uow: ComparingUnitOfWork, venue: str, symbol: str, cause: Cause) -> None:
    """Asks the venue; whatever was open about the symbol has been given up."""
    begun = Reconciliation(
        reconciliation_id=uuid5(_SPACE, f"{venue} {symbol} {uow.now.isoformat()}"),
        venue=venue,
        symbol=symbol,
        cause=cause,
        asked_at=uow.now,
        since_trade_id=await uow.overlapping_trade_id(venue, symbol),
    )
    uow.keep_reconciliation(begun)
    uow.ask(begun)


_SPACE = UUID("6f0c7c1e-6f4b-5c5c-9a57-0d0a3c8a6b1e")


async def learn_listing(uow: ComparingUnitOfWork, listing: Listing, *, market_at: datetime) -> Reconciliation | None:
    """Makes our side follow the venue's answer, and asks on about what it does not settle; None for an answer too late."""
    asked = await uow.asked(listing.venue, listing.symbol)
    if asked is None or asked.query_id != listing.query_id:
        return None
    told, found = await _take(uow, listing, market_at)
    differing = (uow.find(d.venue_order_ref) for d in found if d.kind == "fill_differs" and d.venue_order_ref)
    doubtful = {order.key.ref: order.key for order in differing if order is not None}
    for listed in listing.orders:
        order = uow.find(listed.ref)
        assert order is not None
        difference = compare(order, listed)
        if difference is not None:
            found.append(difference)
            doubtful[listed.ref] = order.key
    listed_refs = {listed.ref for listed in listing.orders}
    for key in await _ours(uow, asked, listing):
        ours = uow.find(key.ref)
        if key.ref not in listed_refs and (ours is None or not ours.stand.is_terminal):
            found.append(
                Difference("not_open_there", key.ref, "the venue does not list it among its open orders", False)
            )
            doubtful[key.ref] = key
    found += await _positions(uow, asked, listing)
    uow.publish(told, market_at=market_at)
    uow.ask_about(doubtful.values())
    after = asked.noted(listing, found, now=uow.now)
    uow.keep_reconciliation(after)
    if after.outcome is Ending.ASKED:
        if any(not difference.is_mended for difference in found):
            uow.doubt(listing.venue, listing.symbol, "the venue's books and ours differ")
        uow.ask(after)
    elif after.outcome is Ending.UNRESOLVED:
        uow.doubt(listing.venue, listing.symbol, "the venue's books and ours differ, and asking does not settle it")
    else:
        uow.trust(listing.venue, listing.symbol)
    return after


async def _take(uow: ComparingUnitOfWork, listing: Listing, market_at: datetime) -> tuple[list[Told], list[Difference]]:
    """What the venue lists, taken for a fact."""
    told: list[Told] = []
    found: list[Difference] = []
    for listed in listing.orders:
        ours = uow.find(listed.ref)
        grows = ours is not None and may_grow(uow, ours)
        order, outcomes, differences = review(ours, listing, listed, now=uow.now, may_grow=grows)
        told += await learnt(uow, ours, order, outcomes, market_at=market_at)
        found += differences
    # All but a few have been heard of, and their orders need not be looked at.
    unlike = await uow.unlike_fills(listing.fills)
    for ref, fill in listing.fills:
        if (ref, fill.venue_trade_id) not in unlike:
            continue
        known = uow.find(ref)
        if known is None:
            if is_forgotten(fill.executed_at, uow.now):
                continue
            name = fill.venue_trade_id
            found.append(
                Difference("unknown_fill", ref, f"{name} is of no order known here", False, venue_trade_id=name)
            )
            continue
        ours_of_it = next((one for one in known.fills if one.venue_trade_id == fill.venue_trade_id), None)
        if ours_of_it is not None:
            difference = compare_fill(ref, ours_of_it, fill)
            found += [] if difference is None else [difference]
            continue
        told += (news := await learn(uow, known, fill, market_at=market_at))
        if news:
            found.append(Difference("fill_missing", ref, f"{fill.venue_trade_id} had not been heard of", True))
    return told, found


async def _ours(uow: ComparingUnitOfWork, asked: Reconciliation, listing: Listing) -> Iterable[OrderKey]:
    """Our side, read after the venue's answer; what was sent after the question cannot be in it.

    An order's time is that at which its transaction began; one that ended after the question's was sent after it."""
    upto = listing.orders[-1].ref if listing.has_more_orders else None
    sent_by = asked.asked_at - LONGEST_TRANSACTION
    return await uow.open_orders(
        listing.venue, listing.symbol, before=sent_by, after=asked.after, upto=upto, limit=MOST_LISTED
    )


async def _positions(uow: ComparingUnitOfWork, asked: Reconciliation, listing: Listing) -> list[Difference]:
    """What is held, where the venue tells it and all fills that are in it have been listed or reported."""
    if listing.positions is None or listing.has_more_fills:
        return []
    theirs = dict(listing.positions)
    upto = listing.positions[-1][0] if listing.has_more_positions else None
    ours = await uow.positions(
        listing.venue, listing.symbol, of=theirs, after=asked.positions_after, upto=upto, limit=MOST_LISTED
    )
    return compare_positions(ours, theirs)
