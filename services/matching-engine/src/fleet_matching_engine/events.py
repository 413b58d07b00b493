"""Between the venue's words and the contracts' messages."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import fleet_simulator as sim
import msgspec
from fleet_contracts import venue
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.exchange_connector import (
    LISTS_OPEN_ORDERS,
    ORDER_GROUPS,
    Trade,
    VenueInstrument,
    VenueStatus,
    takes,
)
from fleet_contracts.matching_engine import BookDelta, BookLevel, BookSnapshot
from fleet_contracts.vocabulary import Liquidity, OrderType, Side, TimeInForce, VenueOrderStand, VenueStateWord
from fleet_simulator import Scale
from fleet_simulator.fees import EXACT
from fleet_simulator.reasons import DETAILS, code_of

from fleet_matching_engine.domain.book import SymbolBook, fill_of
from fleet_matching_engine.domain.orders import (
    Cancel,
    Effects,
    Listed,
    ListQuery,
    Moment,
    OrderFill,
    Place,
    Query,
    Replace,
    Report,
    Stated,
)
from fleet_matching_engine.domain.rules import VENUE, Terms

CAPABILITIES: Final = (
    *(takes(order_type) for order_type in OrderType),
    *(time_in_force.value for time_in_force in TimeInForce),
    *("post_only", "reduce_only", "minimum_quantity", "display_quantity", "self_trade"),
    *("cancel", "replace", "query", ORDER_GROUPS),
)
_SIDES: Final = {Side(word.value): word for word in sim.Side}
_ORDER_TYPES: Final = {OrderType(word.value): word for word in sim.OrderType}
_TIMES_IN_FORCE: Final = {TimeInForce(word.value): word for word in sim.TimeInForce}
SNAPSHOT_DEPTH: Final = 100
STATE_FILLS: Final = 1_000
"""Fills told in one VenueOrderState, about 400 bytes each; an order with more is told in several."""

_DETAILS: Final = DETAILS | {
    "mass_cancel": "An operator of the venue canceled it.",
    "market_closed": "Out of the session only orders for an auction are taken.",
    "rate_limited": "The account sends too many orders a second.",
    "price_band": "The price is too far from the reference price, or from the price that the order waits for.",
    "no_reference": "There is no price here yet to measure the order by: one with a limit or a protection price has its own.",
    "max_order_notional": "The order is larger than this venue takes.",
    "min_notional": "The order is smaller than this venue takes.",
    "min_quantity": "The quantity is smaller than this venue takes.",
}


_account_id = lru_cache(maxsize=100_000)(UUID)
"""The same accounts again and again."""


# Commands


def place(message: venue.PlaceVenueOrder, said_at: datetime | None = None) -> Place:
    return Place(
        ref=message.venue_order_ref.hex,
        account_id=str(message.account_id),
        user_id=str(message.user_id),
        send_by=message.send_by,
        symbol=message.symbol,
        side=_SIDES[message.side],
        order_type=_ORDER_TYPES[message.order_type],
        quantity=message.quantity,
        time_in_force=_TIMES_IN_FORCE[message.time_in_force],
        limit_price=message.limit_price,
        protection_price=message.protection_price,
        stop_price=message.stop_price,
        trail_amount=message.trail_amount,
        trail_percent=message.trail_percent,
        display_quantity=message.display_quantity,
        minimum_quantity=message.minimum_quantity,
        expires_at=message.expires_at,
        post_only=message.post_only,
        reduce_only=message.reduce_only,
        self_trade=None if message.self_trade is None else sim.SelfTrade(message.self_trade.value),
        oco_group=None if message.oco_group is None else message.oco_group.hex,
        parent_ref=None if message.parent_ref is None else message.parent_ref.hex,
        said_at=said_at,
    )


def replace(message: venue.ReplaceVenueOrder) -> Replace:
    return Replace(
        ref=message.venue_order_ref.hex,
        account_id=str(message.account_id),
        send_by=message.send_by,
        symbol=message.symbol,
        quantity=message.quantity,
        limit_price=message.limit_price,
        stop_price=message.stop_price,
    )


def cancel(message: venue.CancelVenueOrder) -> Cancel:
    return Cancel(message.venue_order_ref.hex, str(message.account_id), message.symbol)


def query(message: venue.QueryVenueOrders) -> Query:
    return Query(tuple(ref.hex for ref in message.venue_order_refs), str(message.account_id), message.symbol)


def list_query(message: venue.QueryVenueOpenOrders) -> ListQuery:
    after = None if message.after is None else message.after.hex
    since = None if message.since_trade_id is None else trade_number(message.since_trade_id)
    above = None if message.positions_after is None else str(message.positions_after)
    return ListQuery(message.symbol, after, since, message.most, above)


def terms(defined: InstrumentDefined) -> Terms:
    return Terms(
        symbol=defined.symbol,
        quote=defined.quote,
        tick=defined.tick_size,
        lot=defined.lot_size,
        min_quantity=defined.min_quantity,
        min_notional=defined.min_notional,
        maker_fee=defined.maker_fee,
        taker_fee=defined.taker_fee,
    )


# Reports


Wish = venue.CancelVenueOrder | venue.ReplaceVenueOrder
_ANSWERS = venue.VenueCancelRejected, venue.VenueOrderReplaced, venue.VenueReplaceRejected


def reports(
    symbol: str, found: Sequence[Report], book: SymbolBook | None, when: Moment, wish: Wish | None = None
) -> venue.VenueReports:
    """All that one cause did to the orders of a symbol. Without a book there is nothing but refusals. A `wish` is named
    where it is answered: by what is said first of its order."""
    told = [one for report in found for one in _told(report, symbol, book, when)]
    if wish is not None:
        _name(wish, told)
    return venue.VenueReports(venue=VENUE, symbol=symbol, reports=tuple(told))


def _name(wish: Wish, told: list[venue.AnyVenueReport]) -> None:
    for place, report in enumerate(told):
        if isinstance(report, _ANSWERS) and report.venue_order_ref == wish.venue_order_ref:
            told[place] = msgspec.structs.replace(report, request=wish.request)
            break


def _told(report: Report, symbol: str, book: SymbolBook | None, when: Moment) -> Iterator[venue.AnyVenueReport]:
    event = report.event
    head: dict[str, Any] = {
        "venue_order_ref": UUID(hex=event.order_ref),
        "account_id": _account_id(event.account_id),
        "market_at": when.market_at,
    }
    scale = None if book is None else book.scale
    match event:
        case sim.Accepted():
            yield venue.VenueOrderAccepted(**head)
        case sim.Rejected(reason=reason):
            yield venue.VenueOrderRejected(**head, **_why(reason))
        case sim.CancelRejected(reason=reason):
            yield venue.VenueCancelRejected(**head, **_why(reason))
        case sim.ReplaceRejected(reason=reason):
            yield venue.VenueReplaceRejected(**head, **_why(reason))
        case Stated():
            yield from _states(event, head, book)
        case _ if scale is None or book is None:
            raise AssertionError(f"only refusals have no book, was {event}")
        case sim.Filled():
            yield _filled(OrderFill(event.order_ref, event.account_id, fill_of(event, when)), book)
        case sim.Triggered(price=price):
            yield venue.VenueOrderTriggered(**head, trigger_price=scale.price(price))
        case sim.Replaced():
            yield venue.VenueOrderReplaced(
                **head,
                quantity=scale.quantity(event.quantity),
                limit_price=_price(scale, event.limit_price),
                stop_price=_price(scale, event.stop_price),
                cumulative_quantity=scale.quantity(report.cumulative),
                code=event.reason,
            )
        case sim.Canceled(reason=reason):
            yield venue.VenueOrderCanceled(
                **head, **_why(reason), cumulative_quantity=scale.quantity(report.cumulative)
            )
        case sim.Expired():
            yield venue.VenueOrderExpired(**head, cumulative_quantity=scale.quantity(report.cumulative))


def _why(reason: str) -> dict[str, Any]:
    code = code_of(reason)
    return {"code": code, "detail": _DETAILS[code]}


def _states(told: Stated, head: dict[str, Any], book: SymbolBook | None) -> Iterator[venue.VenueOrderState]:
    why: dict[str, Any] = {} if told.code is None else _why(told.code)
    for first in range(0, max(len(told.fills), 1), STATE_FILLS):
        some = told.fills[first : first + STATE_FILLS] if book is not None else ()
        yield venue.VenueOrderState(
            **head,
            stand=VenueOrderStand(told.stand),
            cumulative_quantity=_quantity(None if book is None else book.scale, told.cumulative),
            fills=tuple(
                _filled(OrderFill(told.order_ref, told.account_id, fill), book) for fill in some if book is not None
            ),
            **why,
        )


def _filled(one: OrderFill, book: SymbolBook) -> venue.VenueOrderFilled:
    scale, fill = book.scale, one.fill
    return venue.VenueOrderFilled(
        venue_order_ref=UUID(hex=one.order_ref),
        account_id=_account_id(one.account_id),
        market_at=fill.market_at,
        venue_trade_id=trade_id(book.terms.symbol, fill.trade),
        last_quantity=scale.quantity(fill.quantity),
        last_price=scale.price(fill.price),
        cumulative_quantity=scale.quantity(fill.cumulative),
        fee=scale.fee(fill.fee),
        fee_currency=book.terms.quote,
        liquidity=Liquidity.MAKER if fill.is_maker else Liquidity.TAKER,
        executed_at=fill.executed_at,
    )


def open_orders(
    asked: venue.QueryVenueOpenOrders, listed: Listed, book: SymbolBook | None, users: Mapping[str, str], when: Moment
) -> venue.VenueOpenOrders:
    return venue.VenueOpenOrders(
        venue=VENUE,
        symbol=asked.symbol,
        query_id=asked.query_id,
        market_at=when.market_at,
        orders=tuple(_open_order(order, book, users) for order in listed.orders if book is not None),
        has_more_orders=listed.has_more_orders,
        fills=tuple(_filled(fill, book) for fill in listed.fills if book is not None),
        has_more_fills=listed.has_more_fills,
        last_trade_id=trade_id(asked.symbol, listed.last_trade),
        positions=tuple(_position(account, lots, book) for account, lots in listed.positions if book is not None),
        has_more_positions=listed.has_more_positions,
    )


def _position(account_id: str, lots: int, book: SymbolBook) -> venue.VenuePosition:
    return venue.VenuePosition(account_id=_account_id(account_id), quantity=book.scale.quantity(lots))


def _open_order(order: sim.Order, book: SymbolBook, users: Mapping[str, str]) -> venue.VenueOpenOrder:
    scale = book.scale
    is_held = order.phase is sim.Phase.PARENT and not order.granted
    notional = EXACT.multiply(Decimal(order.filled_notional), EXACT.multiply(scale.tick, scale.lot))
    return venue.VenueOpenOrder(
        venue_order_ref=UUID(hex=order.order_ref),
        account_id=_account_id(order.account_id),
        user_id=UUID(users[order.account_id]),
        side=Side(order.side.value),
        order_type=OrderType(order.type.value),
        time_in_force=TimeInForce(order.time_in_force.value),
        quantity=scale.quantity(order.declared if is_held else order.quantity),
        limit_price=_price(scale, order.limit_price),
        stop_price=_price(scale, order.stop_price),
        is_triggered=order.elected,
        cumulative_quantity=scale.quantity(order.filled_quantity),
        cumulative_notional=notional,
        fees=scale.fee(order.fee),
    )


def _price(scale: Scale, ticks: int | None) -> Decimal | None:
    return None if ticks is None else scale.price(ticks)


def _quantity(scale: Scale | None, lots: int) -> Decimal:
    return Decimal(0) if scale is None else scale.quantity(lots)


def trade_id(symbol: str, number: int) -> str:
    """The same for maker and taker; a symbol's trades are counted from 1 on, for as long as the venue lives."""
    return f"{symbol}-{number}"


def trade_number(trade_id: str) -> int:
    """0 of an id that is none of ours: all there is has come since."""
    number = trade_id.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


# Market data


def trades(book: SymbolBook, effects: Effects, market_at: datetime) -> Iterator[Trade]:
    for one in effects.prints:
        yield Trade(
            symbol=book.terms.symbol,
            venue=VENUE,
            venue_trade_id=trade_id(book.terms.symbol, one.number),
            price=book.scale.price(one.price),
            quantity=book.scale.quantity(one.quantity),
            aggressor=None if one.aggressor is None else Side.SELL if one.aggressor else Side.BUY,
            market_at=market_at,
        )


def delta(book: SymbolBook, effects: Effects, market_at: datetime) -> BookDelta:
    """The touched levels as they are now, under the book's latest number."""
    changed = [(side, book.core.level(side, price)) for side, price in sorted(effects.touched)]
    return BookDelta(
        symbol=book.terms.symbol,
        venue=VENUE,
        sequence=book.deltas,
        bids=tuple(_level(book, level.price, level.quantity) for side, level in changed if side == 0),
        asks=tuple(_level(book, level.price, level.quantity) for side, level in changed if side == 1),
        checksum=book.checksum(),
        market_at=market_at,
    )


def snapshot(book: SymbolBook, market_at: datetime, depth: int = SNAPSHOT_DEPTH) -> BookSnapshot:
    bids, asks = (
        tuple(_level(book, price, quantity) for price, quantity, _ in book.core.depth(side, depth).tolist())
        for side in (0, 1)
    )
    return BookSnapshot(
        symbol=book.terms.symbol,
        venue=VENUE,
        sequence=book.deltas,
        depth=depth,
        bids=bids,
        asks=asks,
        checksum=book.checksum(),
        market_at=market_at,
    )


def _level(book: SymbolBook, price: int, quantity: int) -> BookLevel:
    return BookLevel(price=book.scale.price(price), quantity=book.scale.quantity(quantity))


# What the venue says of itself


def listed(defined: InstrumentDefined, calendar: str) -> VenueInstrument:
    """The instrument as it is traded here: on the terms of its reference venue, by a calendar of our own."""
    return VenueInstrument(
        symbol=defined.symbol,
        venue=VENUE,
        name=defined.name,
        asset_class=defined.asset_class,
        base=defined.base,
        quote=defined.quote,
        tick_size=defined.tick_size,
        lot_size=defined.lot_size,
        min_quantity=defined.min_quantity,
        min_notional=defined.min_notional,
        maker_fee=defined.maker_fee,
        taker_fee=defined.taker_fee,
        calendar=calendar,
        simulated=defined.simulated,
    )


def status(feed: str, now: datetime) -> VenueStatus:
    # On a replay the market moves only when nothing is on its way: there is nothing to compare.
    capabilities = CAPABILITIES if feed == "replay" else (*CAPABILITIES, LISTS_OPEN_ORDERS)
    return VenueStatus(
        venue=VENUE, state=VenueStateWord.CONNECTED, feed=feed, heartbeat_at=now, capabilities=capabilities
    )
