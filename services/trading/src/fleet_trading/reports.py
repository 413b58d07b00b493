"""Execution's reports as the domain's commands."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from fleet_contracts import execution
from fleet_simulator import Side

from .domain import (
    Command,
    Reason,
    ReportAccept,
    ReportCancel,
    ReportCancelReject,
    ReportExpiry,
    ReportFill,
    ReportReject,
    ReportReplace,
    ReportReplaceReject,
    ReportState,
    ReportTrigger,
    ReportUnknown,
)
from .domain.commands import VenueStand
from .ports import account_key, order_key, trade_key


def report_touches(message: execution.OrderReports) -> list[str]:
    """Account, orders and trades of a record."""
    account_id = message.account_id
    keys = [account_key(account_id)]
    for report in message.reports:
        keys.append(order_key(account_id, report.order_id))
        if isinstance(report, execution.OrderFilled):
            keys.append(trade_key(account_id, report.order_id, report.trade_id))
        elif isinstance(report, execution.OrderState):
            keys.extend(trade_key(account_id, fill.order_id, fill.trade_id) for fill in report.fills)
    return keys


def commands_of(message: execution.OrderReports, now: datetime) -> Iterator[Command]:
    for report in message.reports:
        if isinstance(report, execution.OrderState):
            yield from (_fill(fill, message.user_id, now) for fill in report.fills)
        yield _command(report, message.user_id, now)


def _command(report: execution.AnyReport, user_id: UUID, now: datetime) -> Command:
    order_id = report.order_id
    match report:
        case execution.OrderFilled():
            return _fill(report, user_id, now)
        case execution.OrderAccepted():
            return ReportAccept(order_id=order_id, now=now)
        case execution.OrderRejected():
            return ReportReject(order_id=order_id, reason=Reason(report.code, report.detail), now=now)
        case execution.OrderCanceled():
            reason = Reason(report.code, report.detail)
            return ReportCancel(
                order_id=order_id, reason=reason, cumulative_quantity=report.cumulative_quantity, now=now
            )
        case execution.OrderCancelRejected():
            reason = Reason(report.code, report.detail)
            return ReportCancelReject(order_id=order_id, reason=reason, now=now, request=report.request)
        case execution.OrderReplaced():
            return ReportReplace(
                order_id=order_id,
                quantity=report.quantity,
                limit_price=report.limit_price,
                stop_price=report.stop_price,
                cumulative_quantity=report.cumulative_quantity,
                code=report.code,
                market_at=report.market_at,
                now=now,
                request=report.request,
            )
        case execution.OrderReplaceRejected():
            reason = Reason(report.code, report.detail)
            return ReportReplaceReject(
                order_id=order_id, reason=reason, market_at=report.market_at, now=now, request=report.request
            )
        case execution.OrderTriggered():
            return ReportTrigger(order_id=order_id, now=now)
        case execution.OrderExpired():
            return ReportExpiry(order_id=order_id, cumulative_quantity=report.cumulative_quantity, now=now)
        case execution.OrderUnknown():
            return ReportUnknown(order_id=order_id, detail=report.detail, now=now)
        case execution.OrderState():
            return ReportState(
                order_id=order_id,
                stand=VenueStand(report.stand.value),
                cumulative_quantity=report.cumulative_quantity,
                reason=Reason(report.code or report.stand.value, report.detail or "Told by the venue when asked."),
                now=now,
            )


def _fill(report: execution.OrderFilled, user_id: UUID, now: datetime) -> ReportFill:
    correction = report if isinstance(report, execution.TradeCorrected) else None
    return ReportFill(
        order_id=report.order_id,
        trade_id=report.trade_id,
        venue=report.venue,
        venue_trade_id=report.venue_trade_id,
        quantity=report.last_quantity,
        price=report.last_price,
        fee=report.fee,
        fee_currency=report.fee_currency,
        liquidity=report.liquidity.value,
        executed_at=report.executed_at,
        market_at=report.market_at,
        now=now,
        user_id=user_id,
        symbol=report.symbol,
        side=None if report.side is None else Side(report.side.value),
        revision=0 if correction is None else correction.revision,
        correction=None if correction is None else Reason(correction.code, correction.detail),
    )
