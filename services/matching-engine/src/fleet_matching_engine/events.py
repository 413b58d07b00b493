"""Between the venue's words and the contracts' messages."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from fleet_contracts import venue
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.exchange_connector import Trade, VenueInstrument, VenueStatus
from fleet_contracts.matching_engine import BookDelta, BookLevel, BookSnapshot
from fleet_contracts.vocabulary import Liquidity, Side, VenueOrderStand, VenueStateWord
from fleet_simulator import Scale

from fleet_matching_engine.domain.book import SymbolBook
from fleet_matching_engine.domain.orders import (
    Accepted,
    AnyReport,
    Cancel,
    Canceled,
    CancelRejected,
    Effects,
    Expired,
    Fill,
    Filled,
    Place,
    Query,
    Rejected,
    Replace,
    Replaced,
    ReplaceRejected,
    Stated,
)
from fleet_matching_engine.domain.rules import VENUE, Terms

CAPABILITIES: Final = (
    *("market", "limit", "gtc", "ioc", "fok", "day", "gtd", "post_only", "minimum_quantity", "self_trade"),
    *("cancel", "replace", "query"),
)
SNAPSHOT_DEPTH: Final = 100
STATE_FILLS: Final = 1_000
"""Fills told in one VenueOrderState, about 400 bytes each; an order with more is told in several."""

_DETAILS: Final = {
    "requested": "Canceled on request.",
    "ioc": "What did not fill at once was canceled.",
    "fok": "It could not fill at once and whole.",
    "price_protection": "The market stands beyond the order's protection price, or the venue's price band.",
    "no_liquidity": "Nothing stands on the other side of the book.",
    "self_trade": "It met an order of the same account.",
    "post_only": "It would have traded at once.",
    "minimum_quantity": "Less than its minimum quantity could be traded at once.",
    "replaced": "The new quantity is no more than what is filled.",
    "mass_cancel": "An operator of the venue canceled it.",
    "market_halted": "Trading is halted.",
    "unknown_order": "There is no such open order here.",
    "unknown_symbol": "This venue does not trade it.",
    "unsupported": "This venue does not know such orders.",
    "too_late": "It came after the time by which it should have been sent.",
    "rate_limited": "The account sends too many orders a second.",
    "price_band": "The price is too far from the reference price.",
    "max_order_notional": "The order is larger than this venue takes.",
    "min_notional": "The order is smaller than this venue takes.",
    "min_quantity": "The quantity is smaller than this venue takes.",
    "invalid_quantity": "The quantity is not a positive multiple of the lot size.",
    "invalid_price": "A price is missing, not positive, or not a multiple of the tick size.",
    "invalid_minimum_quantity": "The minimum quantity is larger than the quantity.",
    "invalid_conditions": "These conditions do not go together.",
    "already_expired": "Its end has passed.",
    "book_full": "The book has no room for another order.",
}


# Commands


def place(message: venue.PlaceVenueOrder) -> Place:
    beyond = {
        "stop_price": message.stop_price,
        "trail_amount": message.trail_amount,
        "trail_percent": message.trail_percent,
        "display_quantity": message.display_quantity,
        "reduce_only": message.reduce_only or None,
    }
    return Place(
        ref=message.venue_order_ref,
        account_id=message.account_id,
        send_by=message.send_by,
        symbol=message.symbol,
        side=message.side.value,
        order_type=message.order_type.value,
        quantity=message.quantity,
        limit_price=message.limit_price,
        protection_price=message.protection_price,
        time_in_force=message.time_in_force.value,
        minimum_quantity=message.minimum_quantity,
        expires_at=message.expires_at,
        post_only=message.post_only,
        self_trade=None if message.self_trade is None else message.self_trade.value,
        conditions=tuple(name for name, asked in beyond.items() if asked is not None),
    )


def replace(message: venue.ReplaceVenueOrder) -> Replace:
    return Replace(
        ref=message.venue_order_ref,
        account_id=message.account_id,
        send_by=message.send_by,
        symbol=message.symbol,
        quantity=message.quantity,
        limit_price=message.limit_price,
        conditions=() if message.stop_price is None else ("stop_price",),
    )


def cancel(message: venue.CancelVenueOrder) -> Cancel:
    return Cancel(message.venue_order_ref, message.account_id, message.symbol)


def query(message: venue.QueryVenueOrders) -> Query:
    return Query(message.venue_order_refs, message.account_id, message.symbol)


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


def reports(
    symbol: str, found: Sequence[AnyReport], book: SymbolBook | None, market_at: datetime
) -> venue.VenueReports:
    """All that one cause did to the orders of a symbol. Without a book there is nothing but refusals."""
    told = tuple(one for report in found for one in _told(report, symbol, book, market_at))
    return venue.VenueReports(venue=VENUE, symbol=symbol, reports=told)


def _told(report: AnyReport, symbol: str, book: SymbolBook | None, at: datetime) -> Iterator[venue.AnyVenueReport]:
    ref, account_id = report.ref, report.account_id
    scale = None if book is None else book.scale
    match report:
        case Accepted():
            yield venue.VenueOrderAccepted(venue_order_ref=ref, account_id=account_id, market_at=at)
        case Rejected(code=code):
            yield venue.VenueOrderRejected(
                venue_order_ref=ref, account_id=account_id, market_at=at, code=code, detail=_DETAILS[code]
            )
        case Filled(fill=fill):
            assert book is not None
            yield _fill(ref, account_id, fill, book)
        case Canceled(code=code, cumulative=cumulative):
            yield venue.VenueOrderCanceled(
                venue_order_ref=ref,
                account_id=account_id,
                market_at=at,
                code=code,
                detail=_DETAILS[code],
                cumulative_quantity=_quantity(scale, cumulative),
            )
        case CancelRejected(code=code):
            yield venue.VenueCancelRejected(
                venue_order_ref=ref, account_id=account_id, market_at=at, code=code, detail=_DETAILS[code]
            )
        case Replaced(quantity=quantity, price=price, cumulative=cumulative):
            assert scale is not None
            yield venue.VenueOrderReplaced(
                venue_order_ref=ref,
                account_id=account_id,
                market_at=at,
                quantity=scale.quantity(quantity),
                limit_price=scale.price(price) if price else None,
                cumulative_quantity=scale.quantity(cumulative),
            )
        case ReplaceRejected(code=code):
            yield venue.VenueReplaceRejected(
                venue_order_ref=ref, account_id=account_id, market_at=at, code=code, detail=_DETAILS[code]
            )
        case Expired(cumulative=cumulative):
            yield venue.VenueOrderExpired(
                venue_order_ref=ref,
                account_id=account_id,
                market_at=at,
                cumulative_quantity=_quantity(scale, cumulative),
            )
        case Stated():
            yield from _states(report, book, at)


def _states(report: Stated, book: SymbolBook | None, at: datetime) -> Iterator[venue.VenueOrderState]:
    fills = report.fills if book is not None else ()
    for first in range(0, max(len(fills), 1), STATE_FILLS):
        some = fills[first : first + STATE_FILLS]
        yield venue.VenueOrderState(
            venue_order_ref=report.ref,
            account_id=report.account_id,
            market_at=at,
            stand=VenueOrderStand(report.stand),
            cumulative_quantity=_quantity(None if book is None else book.scale, report.cumulative),
            fills=tuple(_fill(report.ref, report.account_id, fill, book) for fill in some if book is not None),
            code=report.code,
            detail=None if report.code is None else _DETAILS[report.code],
        )


def _fill(ref: UUID, account_id: UUID, fill: Fill, book: SymbolBook) -> venue.VenueOrderFilled:
    scale = book.scale
    return venue.VenueOrderFilled(
        venue_order_ref=ref,
        account_id=account_id,
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


def _quantity(scale: Scale | None, lots: int) -> Decimal:
    return Decimal(0) if scale is None else scale.quantity(lots)


def trade_id(symbol: str, number: int) -> str:
    """The same for maker and taker; a symbol's trades are counted for as long as the venue lives."""
    return f"{symbol}-{number}"


# Market data


def trades(book: SymbolBook, effects: Effects, market_at: datetime) -> Iterator[Trade]:
    for one in effects.prints:
        yield Trade(
            symbol=book.terms.symbol,
            venue=VENUE,
            venue_trade_id=trade_id(book.terms.symbol, one.number),
            price=book.scale.price(one.price),
            quantity=book.scale.quantity(one.quantity),
            aggressor=Side.SELL if one.aggressor else Side.BUY,
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


def listed(defined: InstrumentDefined) -> VenueInstrument:
    """The instrument as it is traded here: on the terms of its reference venue, round the clock."""
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
        calendar="24/7",
        simulated=defined.simulated,
    )


def status(feed: str, now: datetime) -> VenueStatus:
    return VenueStatus(
        venue=VENUE, state=VenueStateWord.CONNECTED, feed=feed, heartbeat_at=now, capabilities=CAPABILITIES
    )
