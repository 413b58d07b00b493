"""Contract messages as the domain's words: trading's commands, what venues say."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from fleet_contracts import trading, venue
from fleet_contracts.vocabulary import OrderClass, VenueOrderStand
from msgspec.structs import replace

from fleet_execution import domain
from fleet_execution.domain.groups import Legs
from fleet_execution.domain.reconciliation import Listed, Listing
from fleet_execution.domain.twap import Twap

AnyCommand = trading.SubmitOrder | trading.ReplaceOrder | trading.CancelOrder | trading.QueryOrder


def key_of(command: AnyCommand) -> domain.OrderKey:
    return domain.OrderKey.of(command.order_id, command.account_id, command.user_id, command.symbol, command.venue)


def terms_of(command: trading.SubmitOrder) -> domain.Terms:
    return domain.Terms(
        command.side,
        command.order_type,
        command.quantity,
        command.limit_price,
        command.protection_price,
        command.time_in_force,
        command.send_by,
        _conditions_of(command),
    )


def legs_of(command: trading.SubmitOrder, *, are_held: bool) -> Legs:
    """What comes with the order."""
    orders = tuple((_leg_key(command, leg), _leg_terms(command, leg)) for leg in command.legs)
    return Legs(orders, command.order_class is OrderClass.OCO, are_held)


def refs_of(command: AnyCommand) -> list[UUID]:
    """The venue orders of the order and of its legs."""
    refs = [domain.venue_order_ref(command.order_id)]
    if isinstance(command, trading.SubmitOrder):
        refs += [domain.venue_order_ref(leg.order_id) for leg in command.legs]
    return refs


def _leg_key(command: trading.SubmitOrder, leg: trading.Leg) -> domain.OrderKey:
    return domain.OrderKey.of(leg.order_id, command.account_id, command.user_id, command.symbol, command.venue)


def _leg_terms(command: trading.SubmitOrder, leg: trading.Leg) -> domain.Terms:
    conditions = domain.Conditions(stop_price=leg.stop_price, expires_at=leg.expires_at)
    return domain.Terms(
        leg.side,
        leg.order_type,
        leg.quantity,
        leg.limit_price,
        leg.protection_price,
        leg.time_in_force,
        command.send_by,
        domain.NO_CONDITIONS if conditions == domain.NO_CONDITIONS else conditions,
    )


def _conditions_of(command: trading.SubmitOrder) -> domain.Conditions:
    conditions = domain.Conditions(
        command.stop_price,
        command.trail_amount,
        command.trail_percent,
        command.display_quantity,
        command.minimum_quantity,
        command.expires_at,
        command.post_only,
        command.reduce_only,
        command.self_trade,
    )
    return domain.NO_CONDITIONS if conditions == domain.NO_CONDITIONS else conditions


def twap_of(algo: trading.Twap, lot: Decimal, now: datetime) -> Twap:
    return Twap(now, algo.duration_s, algo.slices, lot)


def change_of(command: trading.ReplaceOrder) -> domain.Change:
    return domain.Change(command.quantity, command.limit_price, command.stop_price, command.send_by, command.request)


def fact_of(report: venue.AnyVenueReport) -> domain.VenueFact:
    match report:
        case venue.VenueOrderAccepted():
            return domain.Accepted(report.market_at)
        case venue.VenueOrderRejected():
            return domain.Rejected(report.market_at, report.code, report.detail)
        case venue.VenueTradeCorrected():
            fill = replace(_fill_of(report), revision=report.revision)
            return domain.Corrected(report.market_at, fill, report.code, report.detail)
        case venue.VenueOrderFilled():
            return _fill_of(report)
        case venue.VenueOrderCanceled():
            return domain.Canceled(report.market_at, report.code, report.detail, report.cumulative_quantity)
        case venue.VenueCancelRejected():
            return domain.CancelRejected(report.market_at, report.code, report.detail, report.request)
        case venue.VenueOrderReplaced():
            return domain.Replaced(
                report.market_at,
                report.quantity,
                report.limit_price,
                report.stop_price,
                report.cumulative_quantity,
                report.code,
                report.request,
            )
        case venue.VenueReplaceRejected():
            return domain.ReplaceRejected(report.market_at, report.code, report.detail, report.request)
        case venue.VenueOrderTriggered():
            return domain.Triggered(report.market_at, report.trigger_price)
        case venue.VenueOrderExpired():
            return domain.Expired(report.market_at, report.cumulative_quantity)
        case venue.VenueOrderState():
            return domain.Stated(
                report.market_at,
                None if report.stand is VenueOrderStand.UNKNOWN else domain.Stand(report.stand.value),
                report.cumulative_quantity,
                tuple(_fill_of(fill) for fill in report.fills),
                report.code,
                report.detail,
                _totals(report.cumulative_quantity, report.cumulative_notional, report.fees, report.fee_currency or ""),
            )


def _totals(
    quantity: Decimal, notional: Decimal | None, fees: Decimal | None, fee_currency: str = ""
) -> domain.Totals | None:
    return None if notional is None or fees is None else domain.Totals(quantity, notional, fees, fee_currency)


def listing_of(message: venue.VenueOpenOrders) -> Listing:
    return Listing(
        message.query_id,
        message.venue,
        message.symbol,
        message.market_at,
        tuple(map(_listed, message.orders)),
        message.has_more_orders,
        tuple((fill.venue_order_ref, _fill_of(fill)) for fill in message.fills),
        message.has_more_fills,
        message.last_trade_id,
        None if message.positions is None else tuple((held.account_id, held.quantity) for held in message.positions),
        message.has_more_positions,
    )


def _listed(order: venue.VenueOpenOrder) -> Listed:
    conditions = domain.NO_CONDITIONS if order.stop_price is None else domain.Conditions(stop_price=order.stop_price)
    terms = domain.Terms(
        order.side,
        order.order_type,
        order.quantity,
        order.limit_price,
        None,
        order.time_in_force,
        None,
        conditions,
    )
    totals = _totals(order.cumulative_quantity, order.cumulative_notional, order.fees)
    stand = domain.Stand(order.stand.value)
    return Listed(order.venue_order_ref, order.account_id, order.user_id, terms, stand, totals, order.is_triggered)


def _fill_of(report: venue.VenueOrderFilled) -> domain.Filled:
    return domain.Filled(
        report.market_at,
        report.venue_trade_id,
        report.last_quantity,
        report.last_price,
        report.cumulative_quantity,
        report.fee,
        report.fee_currency,
        report.liquidity,
        report.executed_at,
    )
