"""What data hears: instruments, bars and steps, quotes and prints; and what time causes: a quote that had to wait."""

from collections.abc import Iterable
from datetime import timedelta

from fleet_bus import Due, DueKind, NotYet, Received, Transaction, Work
from fleet_contracts.exchange_connector import (
    MarketStepEnded,
    Quote,
    Trade,
    VenueBarClosed,
    VenueBarsBackfilled,
    VenueInstrument,
)
from fleet_contracts.matching_engine import BookDelta, BookSnapshot
from fleet_contracts.topics import (
    EXCHANGE_CONNECTOR_BARS,
    EXCHANGE_CONNECTOR_INSTRUMENTS,
    EXCHANGE_CONNECTOR_MARKET_DATA,
    MATCHING_ENGINE_INSTRUMENTS,
    MATCHING_ENGINE_MARKET_DATA,
)

from . import events, service
from .domain.bars import Series
from .ports import UnknownInstrument
from .store.bars import PostgresBarUnitOfWork
from .store.instruments import PostgresInstrumentUnitOfWork
from .store.order_books import PostgresOrderBookUnitOfWork
from .store.quotes import SEND_QUOTE, PostgresQuoteUnitOfWork


def instruments() -> Work:
    """What venues tell of the instruments they trade."""
    return Work(
        name="instruments",
        topics=(EXCHANGE_CONNECTOR_INSTRUMENTS, MATCHING_ENGINE_INSTRUMENTS),
        unit_of_work=PostgresInstrumentUnitOfWork,
        touches=lambda told: (told.symbol,),
        handlers={VenueInstrument: _list},
    )


async def _list(uow: PostgresInstrumentUnitOfWork, received: Received[VenueInstrument]) -> None:
    told = received.message
    service.list_instrument(uow, told.symbol, told.venue, events.terms_of(told))


def bars(*, is_replay: bool) -> Work:
    """Bars are stored and passed on, steps after their bars."""
    return Work(
        name="bars",
        topics=(EXCHANGE_CONNECTOR_BARS,),
        unit_of_work=lambda tx: PostgresBarUnitOfWork(tx, quotes_from_bars=is_replay),
        touches=_series_touched,
        handlers={VenueBarClosed: _add_closed, VenueBarsBackfilled: _add_history, MarketStepEnded: _end_step},
    )


def _series_touched(message: VenueBarClosed | VenueBarsBackfilled | MarketStepEnded) -> Iterable[str]:
    if isinstance(message, MarketStepEnded):
        return (events.series_id(one) for one in events.step_of(message).series)
    return (events.series_id(_series(message)),)


def _series(message: VenueBarClosed | VenueBarsBackfilled) -> Series:
    return Series(message.symbol, message.timeframe.value)


async def _add_closed(uow: PostgresBarUnitOfWork, received: Received[VenueBarClosed]) -> None:
    told = received.message
    market_at = received.market_at or told.bar.close_at
    try:
        uow.add_closed(_series(told), told.venue, told.bar, market_at=market_at)
    except UnknownInstrument as missing:
        raise NotYet(str(missing)) from missing


async def _add_history(uow: PostgresBarUnitOfWork, received: Received[VenueBarsBackfilled]) -> None:
    told = received.message
    try:
        uow.add_history(_series(told), told.venue, told.bars, market_at=received.market_at)
    except UnknownInstrument as missing:
        raise NotYet(str(missing)) from missing


async def _end_step(uow: PostgresBarUnitOfWork, received: Received[MarketStepEnded]) -> None:
    try:
        uow.end_step(events.step_of(received.message))
    except UnknownInstrument as missing:
        raise NotYet(str(missing)) from missing


def market_data(*, stale_after: timedelta, keep_trades: timedelta) -> tuple[Work, DueKind]:
    """Quotes, ten a second a symbol at most and the latest always in the end; prints of the market."""

    def unit_of_work(tx: Transaction) -> PostgresQuoteUnitOfWork:
        return PostgresQuoteUnitOfWork(tx, stale_after=stale_after, keep_trades=keep_trades)

    work = Work(
        name="market-data",
        topics=(EXCHANGE_CONNECTOR_MARKET_DATA, MATCHING_ENGINE_MARKET_DATA),
        unit_of_work=unit_of_work,
        touches=lambda message: (message.symbol,),
        handlers={Quote: _quote, Trade: _trade},
    )
    due = DueKind(
        kind=SEND_QUOTE,
        clock="wall",
        unit_of_work=unit_of_work,
        touches=lambda symbol: (symbol,),
        handle=_send_quote,
    )
    return work, due


async def _quote(uow: PostgresQuoteUnitOfWork, received: Received[Quote]) -> None:
    told = received.message
    service.take_quote(
        uow,
        told.symbol,
        told.venue,
        bid=told.bid,
        bid_size=told.bid_size,
        ask=told.ask,
        ask_size=told.ask_size,
        market_at=told.market_at,
    )


async def _trade(uow: PostgresQuoteUnitOfWork, received: Received[Trade]) -> None:
    told = received.message
    service.take_trade(
        uow,
        told.symbol,
        told.venue,
        told.venue_trade_id,
        price=told.price,
        quantity=told.quantity,
        aggressor=told.aggressor,
        market_at=told.market_at,
    )


async def _send_quote(uow: PostgresQuoteUnitOfWork, due: Due) -> None:
    service.send_quote(uow, due.aggregate_id)


def order_books() -> Work:
    """The books of the venues that show theirs, by snapshots and deltas.

    Of a listing that is not known yet nothing is kept: like after a gap, the next snapshot has it all."""
    return Work(
        name="order-books",
        topics=(MATCHING_ENGINE_MARKET_DATA,),
        unit_of_work=PostgresOrderBookUnitOfWork,
        touches=lambda message: (f"{message.symbol},{message.venue}",),
        handlers={BookSnapshot: _book, BookDelta: _book},
    )


async def _book(uow: PostgresOrderBookUnitOfWork, received: Received[BookSnapshot | BookDelta]) -> None:
    uow.take(received.message)
