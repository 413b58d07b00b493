"""Between the venue's words and the contracts' messages, with the topic and key of each."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import assert_never
from uuid import UUID

import msgspec
from fleet_bus import Transaction, tell_acted
from fleet_contracts import Message, Topic, venue, vocabulary
from fleet_contracts.audit import Change
from fleet_contracts.exchange_connector import (
    LISTS_OPEN_ORDERS,
    ORDER_GROUPS,
    BarValues,
    MarketStepEnded,
    VenueBarClosed,
    VenueBarsBackfilled,
    VenueInstrument,
    VenueStatus,
    takes,
)
from fleet_contracts.topics import (
    EXCHANGE_CONNECTOR_AUDIT,
    EXCHANGE_CONNECTOR_BARS,
    EXCHANGE_CONNECTOR_INSTRUMENTS,
    EXCHANGE_CONNECTOR_STATUS,
    VENUE_PAPER_REPORTS,
)
from fleet_contracts.vocabulary import Liquidity, Timeframe, VenueOrderStand, VenueStateWord
from fleet_simulator import OrderType, SelfTrade, Side, TimeInForce

from fleet_exchange_connector.domain.bars import Bar
from fleet_exchange_connector.domain.corrections import Correction, Trade
from fleet_exchange_connector.domain.instruments import VENUE, Feed
from fleet_exchange_connector.domain.orders import (
    CancelOrder,
    Fill,
    ListQuery,
    PlaceOrder,
    QueryOrders,
    ReplaceOrder,
    Report,
    ReportKind,
)
from fleet_exchange_connector.ports import (
    BarsBackfilled,
    BarsClosed,
    BookListed,
    Event,
    InstrumentListed,
    OrdersReported,
    StepEnded,
    VenueTold,
)

CAPABILITIES = (
    *("market", "limit", "gtc", "ioc", "fok", "day", "gtd", "at_open", "at_close", "post_only", "reduce_only"),
    *("display_quantity", "minimum_quantity", "cancel", "replace", "query", ORDER_GROUPS),
    *(takes(vocabulary.OrderType(order_type)) for order_type in OrderType),
)
REPORTS_A_RECORD = 1_000
"""About 400 bytes each: a record stays below the outbox's 900 kB."""

Addressed = tuple[Topic, str, Message, datetime | None]


def publish(tx: Transaction, event: Event) -> None:
    """Sends the event's messages with the transaction."""
    for topic, key, message, market_at in messages_of(event):
        tx.publish(topic, key, message, market_at=market_at)


def messages_of(event: Event) -> Iterator[Addressed]:
    """(topic, key, message, market time) of each record an event is told with."""
    match event:
        case OrdersReported(symbol, reports):
            for first in range(0, len(reports), REPORTS_A_RECORD):
                some = reports[first : first + REPORTS_A_RECORD]
                message = venue.VenueReports(venue=VENUE, symbol=symbol, reports=tuple(map(_report, some)))
                yield VENUE_PAPER_REPORTS, symbol, message, some[-1].market_at
        case BookListed():
            yield _book_listed(event)
        case BarsClosed(timeframe, bars):
            for bar in bars:
                closed = VenueBarClosed(
                    symbol=bar.symbol, venue=VENUE, timeframe=Timeframe(timeframe), bar=_values(bar)
                )
                yield EXCHANGE_CONNECTOR_BARS, bar.symbol, closed, bar.close_at
        case BarsBackfilled(timeframe, bars):
            yield _backfilled(timeframe, bars)
        case StepEnded():
            yield _step_ended(event)
        case InstrumentListed():
            yield _listed(event)
        case VenueTold():
            status = VenueStatus(
                venue=VENUE,
                state=VenueStateWord.CONNECTED,
                feed=event.feed,
                heartbeat_at=event.heartbeat_at,
                # On a replay the market moves only when nothing is on its way: there is nothing to compare.
                capabilities=CAPABILITIES if event.feed == Feed.REPLAY else (*CAPABILITIES, LISTS_OPEN_ORDERS),
                detail=event.detail,
            )
            yield EXCHANGE_CONNECTOR_STATUS, VENUE, status, None
        case _:
            assert_never(event)


def place_order(message: venue.PlaceVenueOrder, said_at: datetime | None = None) -> PlaceOrder:
    return PlaceOrder(
        venue_order_ref=message.venue_order_ref,
        account_id=message.account_id,
        user_id=message.user_id,
        command_sequence=message.command_sequence,
        send_by=message.send_by,
        symbol=message.symbol,
        side=Side(message.side),
        order_type=OrderType(message.order_type),
        quantity=message.quantity,
        limit_price=message.limit_price,
        protection_price=message.protection_price,
        time_in_force=TimeInForce(message.time_in_force),
        stop_price=message.stop_price,
        trail_amount=message.trail_amount,
        trail_percent=message.trail_percent,
        display_quantity=message.display_quantity,
        minimum_quantity=message.minimum_quantity,
        expires_at=message.expires_at,
        post_only=message.post_only,
        reduce_only=message.reduce_only,
        self_trade=SelfTrade.ALLOW if message.self_trade is None else SelfTrade(message.self_trade),
        oco_group=message.oco_group,
        parent_ref=message.parent_ref,
        said_at=said_at,
    )


def replace_order(message: venue.ReplaceVenueOrder) -> ReplaceOrder:
    return ReplaceOrder(
        venue_order_ref=message.venue_order_ref,
        account_id=message.account_id,
        user_id=message.user_id,
        command_sequence=message.command_sequence,
        send_by=message.send_by,
        symbol=message.symbol,
        quantity=message.quantity,
        limit_price=message.limit_price,
        stop_price=message.stop_price,
        request=message.request,
    )


def cancel_order(message: venue.CancelVenueOrder) -> CancelOrder:
    return CancelOrder(
        venue_order_ref=message.venue_order_ref,
        account_id=message.account_id,
        user_id=message.user_id,
        command_sequence=message.command_sequence,
        symbol=message.symbol,
        request=message.request,
    )


def query_orders(message: venue.QueryVenueOrders) -> QueryOrders:
    return QueryOrders(venue_order_refs=message.venue_order_refs, account_id=message.account_id, symbol=message.symbol)


def list_query(message: venue.QueryVenueOpenOrders) -> ListQuery:
    return ListQuery(
        query_id=message.query_id,
        symbol=message.symbol,
        after=message.after,
        since_trade_id=message.since_trade_id,
        most=message.most,
        positions_after=message.positions_after,
    )


def _book_listed(event: BookListed) -> Addressed:
    message = venue.VenueOpenOrders(
        venue=VENUE,
        symbol=event.symbol,
        query_id=event.query_id,
        market_at=event.market_at,
        orders=tuple(
            venue.VenueOpenOrder(
                venue_order_ref=order.venue_order_ref,
                account_id=order.account_id,
                user_id=user_id,
                side=vocabulary.Side(order.side.value),
                order_type=vocabulary.OrderType(order.order_type.value),
                time_in_force=vocabulary.TimeInForce(order.time_in_force.value),
                quantity=order.quantity,
                limit_price=order.limit_price,
                stop_price=order.stop_price,
                is_triggered=order.is_triggered,
                cumulative_quantity=order.cumulative_quantity,
                cumulative_notional=order.cumulative_notional,
                fees=order.fees,
            )
            for order, user_id in event.orders
        ),
        has_more_orders=event.has_more_orders,
        fills=tuple(map(_fill, event.fills)),
        has_more_fills=event.has_more_fills,
        last_trade_id=event.last_trade_id,
        positions=tuple(venue.VenuePosition(account_id=account, quantity=held) for account, held in event.positions),
        has_more_positions=event.has_more_positions,
    )
    return VENUE_PAPER_REPORTS, event.symbol, message, event.market_at


def _backfilled(timeframe: str, bars: Sequence[Bar]) -> Addressed:
    symbol = bars[0].symbol
    message = VenueBarsBackfilled(
        symbol=symbol, venue=VENUE, timeframe=Timeframe(timeframe), bars=tuple(map(_values, bars))
    )
    return EXCHANGE_CONNECTOR_BARS, symbol, message, bars[-1].close_at


def _step_ended(event: StepEnded) -> Addressed:
    message = MarketStepEnded(
        step=event.step,
        market_at=event.market_at,
        timeframe=Timeframe(event.timeframe),
        symbols=event.symbols,
        replay_id=event.replay_id,
    )
    return EXCHANGE_CONNECTOR_BARS, "step", message, event.market_at


def _listed(event: InstrumentListed) -> Addressed:
    instrument = event.instrument
    message = VenueInstrument(
        symbol=instrument.symbol,
        venue=VENUE,
        name=instrument.name,
        asset_class=instrument.asset_class,
        base=instrument.base,
        quote=instrument.quote,
        tick_size=instrument.tick,
        lot_size=instrument.lot,
        min_quantity=instrument.lot,
        min_notional=instrument.min_notional,
        maker_fee=event.maker_fee,
        taker_fee=event.taker_fee,
        calendar=event.calendar,
        simulated=event.is_simulated,
    )
    return EXCHANGE_CONNECTOR_INSTRUMENTS, f"{instrument.symbol},{VENUE}", message, None


def _values(bar: Bar) -> BarValues:
    return BarValues(
        open_at=bar.open_at,
        close_at=bar.close_at,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        trades=bar.trades,
    )


def _report(report: Report) -> venue.AnyVenueReport:
    ref, account_id, at, status = report.venue_order_ref, report.account_id, report.market_at, report.status
    code, detail = status.code or "", status.detail or ""
    match report.kind:
        case ReportKind.ACCEPTED:
            return venue.VenueOrderAccepted(venue_order_ref=ref, account_id=account_id, market_at=at)
        case ReportKind.REJECTED:
            return venue.VenueOrderRejected(
                venue_order_ref=ref, account_id=account_id, market_at=at, code=code, detail=detail
            )
        case ReportKind.FILLED:
            assert report.fill is not None, "a fill is told with its figures"
            return _fill(report.fill)
        case ReportKind.CANCELED:
            return venue.VenueOrderCanceled(
                venue_order_ref=ref,
                account_id=account_id,
                market_at=at,
                code=code,
                detail=detail,
                cumulative_quantity=status.cumulative_quantity,
            )
        case ReportKind.CANCEL_REJECTED:
            return venue.VenueCancelRejected(
                venue_order_ref=ref,
                account_id=account_id,
                market_at=at,
                code=code,
                detail=detail,
                request=report.request,
            )
        case ReportKind.REPLACED:
            assert report.change is not None, "a change is told with its figures"
            return venue.VenueOrderReplaced(
                venue_order_ref=ref,
                account_id=account_id,
                market_at=at,
                quantity=report.change.quantity,
                limit_price=report.change.limit_price,
                stop_price=report.change.stop_price,
                cumulative_quantity=status.cumulative_quantity,
                code=report.change.code,
                request=report.request,
            )
        case ReportKind.REPLACE_REJECTED:
            return venue.VenueReplaceRejected(
                venue_order_ref=ref,
                account_id=account_id,
                market_at=at,
                code=code,
                detail=detail,
                request=report.request,
            )
        case ReportKind.TRIGGERED:
            assert report.trigger_price is not None, "a trigger is told with its price"
            return venue.VenueOrderTriggered(
                venue_order_ref=ref, account_id=account_id, market_at=at, trigger_price=report.trigger_price
            )
        case ReportKind.EXPIRED:
            return venue.VenueOrderExpired(
                venue_order_ref=ref, account_id=account_id, market_at=at, cumulative_quantity=status.cumulative_quantity
            )
        case ReportKind.TRADE_CORRECTED:
            assert report.fill is not None, "a correction is told with the figures"
            fill = msgspec.structs.asdict(_fill(report.fill))
            return venue.VenueTradeCorrected(**fill, revision=report.revision, code=code, detail=detail)
        case ReportKind.STATE:
            return venue.VenueOrderState(
                venue_order_ref=ref,
                account_id=account_id,
                market_at=at,
                stand=VenueOrderStand(status.stand),
                cumulative_quantity=status.cumulative_quantity,
                fills=tuple(map(_fill, report.fills)),
                code=status.code,
                detail=status.detail,
            )
        case _:
            assert_never(report.kind)


def _fill(fill: Fill) -> venue.VenueOrderFilled:
    return venue.VenueOrderFilled(
        venue_order_ref=fill.venue_order_ref,
        account_id=fill.account_id,
        market_at=fill.market_at,
        venue_trade_id=fill.venue_trade_id,
        last_quantity=fill.quantity,
        last_price=fill.price,
        cumulative_quantity=fill.cumulative_quantity,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=Liquidity(fill.liquidity),
        executed_at=fill.executed_at,
    )


def tell_feed_moved(tx: Transaction, action: str, *, by: UUID) -> None:
    """For the audit log: an administrator paused, resumed or stepped the simulated market."""
    change = Change(name="action", after=action)
    tell_acted(tx, EXCHANGE_CONNECTOR_AUDIT, "feed.moved", f"venue:{VENUE}", change, by=str(by))


def tell_trade_corrected(tx: Transaction, venue_trade_id: str, before: Trade, after: Trade, said: Correction) -> None:
    """For the audit log: an administrator said what a trade was, or that there was none."""
    changes = [
        Change(name=name, before=f"{was:f}", after=f"{now:f}")
        for name, was, now in (
            ("quantity", before.fill.quantity, after.fill.quantity),
            ("price", before.fill.price, after.fill.price),
        )
        if was != now
    ]
    action, target = said.code.replace("_", "."), f"trade:{venue_trade_id}"
    tell_acted(tx, EXCHANGE_CONNECTOR_AUDIT, action, target, *changes, by=str(said.by), reason=said.reason)
