"""`apply(account, event)`: makes it so, and notes what must be written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fleet_simulator.fees import EXACT

from .account import Account
from .booking import balance_of, book_adjustment, book_correction, book_fill, book_reset
from .events import (
    AccountReleased,
    AccountReset,
    AccountRestricted,
    Adjusted,
    BoughtUnsettledSold,
    CancelRefused,
    CancelRequested,
    Event,
    FillsMissing,
    OrderAccepted,
    OrderClosed,
    OrderDenied,
    OrderFilled,
    OrderPlaced,
    OrderQueried,
    OrderReplaced,
    OrderTriggered,
    OrderUnanswered,
    ReplaceDenied,
    ReplaceRefused,
    ReplaceRequested,
    ResetBegun,
    TradeCorrected,
)
from .group import group_of, holdings, is_whole
from .order import Order
from .risk.usage import LimitsMeasured
from .states import Step, Transition, after
from .terms import NO_TERMS
from .values import ZERO, AccountStatus, Pending, Reason, Restriction

MOST_TRANSITIONS = 500
"""Kept of an order, besides how it ended: at some 100 bytes each, in its row."""


def apply(account: Account, event: Event) -> None:
    _EFFECTS[type(event)](account, event)


def _placed(account: Account, event: OrderPlaced) -> None:
    for order in (event.order, *event.legs):
        _add(account, order)
        _reserve(account, order, ZERO)
    if event.risk is not None:
        account.risk = event.risk


def _denied(account: Account, event: OrderDenied) -> None:
    _add(account, event.order)


def _add(account: Account, order: Order) -> None:
    account.orders[order.order_id] = order
    account.open_buys.changed.add(order.order_id)
    account.changes.placed[order.order_id] = order
    account.changes.market_at = order.market_at


def _reserve(account: Account, order: Order, before: Decimal) -> None:
    """Moves the balance's reserved from what the order held before to what it holds now."""
    if order.reserved == before:
        return
    currency = order.reserved_currency
    balance = balance_of(account, currency)
    balance.reserved = EXACT.add(balance.reserved, EXACT.subtract(order.reserved, before)) or ZERO


def _changed(account: Account, order_id: UUID, now: datetime) -> Order:
    """The order, one version on."""
    order = account.orders[order_id]
    order.version += 1
    order.updated_at = now
    _note(account, order)
    return order


def _note(account: Account, order: Order) -> None:
    account.open_buys.changed.add(order.order_id)
    if order.order_id not in account.changes.placed:
        account.changes.orders[order.order_id] = order


def _step(
    account: Account, order: Order, step: Step, *, reason: Reason | None = None, trade_id: UUID | None = None
) -> None:
    """Takes the order one step on, and notes it."""
    order.stand, order.pending = after(step, order.stand, order.pending, order.beneath)
    if order.pending is Pending.NONE:
        order.query_at = None
    # The first and the last are kept, so that no order's row grows without end.
    if order.version <= MOST_TRANSITIONS or not order.is_open:
        transition = Transition(order.version, order.updated_at, step.value, order.status, reason, trade_id)
        account.changes.transitions.setdefault(order.order_id, []).append(transition)


def _accepted(account: Account, event: OrderAccepted) -> None:
    _heard(account, event, Step.ACCEPTED)


def _heard(account: Account, event: OrderAccepted | OrderTriggered, step: Step) -> None:
    """The venue has the order. What was asked since is not answered by that, and is still to be asked about."""
    order = _changed(account, event.order_id, event.now)
    order.is_accepted = True
    order.reason = None
    _step(account, order, step)


def _closed(account: Account, event: OrderClosed) -> None:
    order = _changed(account, event.order_id, event.now)
    order.reason = event.reason
    _step(account, order, Step(event.stand.value), reason=event.reason)
    _hold(account, order)


def _hold(account: Account, order: Order) -> None:
    """What the order, or its group, must hold as it stands now."""
    if order.terms is not None and order.terms.group:
        _hold_together(account, group_of(account, order), order.updated_at)
        return
    held = order.reserved
    order.reserved = order.holding if order.is_open else ZERO
    _reserve(account, order, held)


def _hold_together(account: Account, orders: Sequence[Order], now: datetime) -> None:
    for order in orders:
        if order.is_open and is_whole(order, orders):
            _changed(account, order.order_id, now).reason = None
            _step(account, order, Step.FILLED)
    for order, amount in zip(orders, holdings(orders), strict=True):
        held, order.reserved = order.reserved, amount
        if held != amount:
            _note(account, order)
            _reserve(account, order, held)


def _answered(order: Order) -> None:
    order.terms = replace(order.terms or NO_TERMS, wanted=None)


def _replace_requested(account: Account, event: ReplaceRequested) -> None:
    order = _changed(account, event.order_id, event.now)
    wanted = event.wanted
    asked = {"quantity": wanted.quantity, "limit_price": wanted.limit_price, "stop_price": wanted.stop_price}
    detail = ", ".join(f"{name} {value:f}" for name, value in asked.items() if value is not None)
    order.terms = replace(
        order.terms or NO_TERMS, wanted=wanted, asked_at=event.market_at, replace_request=order.version
    )
    _step(account, order, Step.REPLACE_REQUESTED, reason=Reason("requested", detail))
    order.query_at = event.query_at
    order.queries = 0
    _hold(account, order)


def _replace_refused(account: Account, event: ReplaceRefused) -> None:
    order = _changed(account, event.order_id, event.now)
    _answered(order)
    order.reason = event.reason
    _step(account, order, Step.REPLACE_REFUSED, reason=event.reason)
    _hold(account, order)


def _replaced(account: Account, event: OrderReplaced) -> None:
    order = _changed(account, event.order_id, event.now)
    terms = order.terms or NO_TERMS
    figures = event.figures
    # A leg can grow while the order is open that it waits for; what its venue says after that is the last word.
    parent = account.orders.get(order.parent_order_id) if order.parent_order_id is not None else None
    grown = terms.grown
    if parent is not None and event.reason is not None:
        if event.reason.code == "parent_filled":
            before = order.quantity if terms.first is not None else ZERO
            grown = EXACT.add(grown, EXACT.subtract(figures.quantity, before))
        else:
            grown = max(grown, order.quantity)
    order.terms = replace(
        terms,
        first=terms.first or order.figures,
        stop_price=figures.stop_price,
        grown=grown,
        changed_at=terms.changed_at if event.reason is None else event.market_at,
    )
    order.quantity, order.limit_price = figures.quantity, figures.limit_price
    order.is_accepted = True
    order.reason = event.reason
    if event.is_answer:
        _answered(order)
    _step(account, order, Step.REPLACED if event.is_answer else Step.CHANGED, reason=event.reason)
    if order.filled_quantity and order.filled_quantity >= order.quantity and (parent is None or not parent.is_open):
        _step(account, order, Step.FILLED)
    _hold(account, order)


def _triggered(account: Account, event: OrderTriggered) -> None:
    order = account.orders[event.order_id]
    order.terms = replace(order.terms or NO_TERMS, is_triggered=True)
    _heard(account, event, Step.TRIGGERED)


def _cancel_requested(account: Account, event: CancelRequested) -> None:
    order = _changed(account, event.order_id, event.now)
    order.terms = replace(order.terms or NO_TERMS, cancel_request=order.version)
    _step(account, order, Step.CANCEL_REQUESTED)
    order.query_at = event.query_at
    order.queries = 0


def _cancel_refused(account: Account, event: CancelRefused) -> None:
    order = _changed(account, event.order_id, event.now)
    order.is_accepted = True
    order.reason = event.reason
    _step(account, order, Step.CANCEL_REFUSED, reason=event.reason)


def _unanswered(account: Account, event: OrderUnanswered) -> None:
    order = _changed(account, event.order_id, event.now)
    order.reason = event.reason
    _step(account, order, Step.UNANSWERED, reason=event.reason)


def _queried(account: Account, event: OrderQueried) -> None:
    order = account.orders[event.order_id]
    order.queries = event.attempt
    order.query_at = event.next_at
    _note(account, order)


def _nothing(account: Account, event: FillsMissing | ReplaceDenied) -> None:
    """Only told: of what is missing nothing else is known, and what is denied changes nothing."""


def _restricted(account: Account, event: AccountRestricted) -> None:
    if account.status is AccountStatus.ACTIVE:
        account.status = AccountStatus.REDUCE_ONLY
        account.restriction = Restriction(event.reason.code, event.reason.detail, event.now)
        account.changes.is_status = True


def _released(account: Account, _event: AccountReleased) -> None:
    account.status, account.restriction = AccountStatus.ACTIVE, None
    account.changes.is_status = True


def _sold_early(account: Account, event: BoughtUnsettledSold) -> None:
    """Comes with a fill, which has noted the order."""
    account.orders[event.order_id].reason = event.reason
    account.risk = account.risk.violated(event.order_id, event.day)


def _reset_begun(account: Account, _event: ResetBegun) -> None:
    account.status, account.restriction = AccountStatus.RESETTING, None
    account.changes.is_status = True


def _filled(account: Account, event: OrderFilled) -> None:
    fill = event.fill
    if event.adopted is not None:
        _add(account, event.adopted)
    order = _changed(account, event.order_id, fill.now)
    notional = EXACT.multiply(fill.quantity, fill.price)
    order.filled_quantity = EXACT.add(order.filled_quantity, fill.quantity)
    order.filled_notional = EXACT.add(order.filled_notional, notional)
    order.fees = EXACT.add(order.fees, fill.fee)
    order.is_accepted = True
    is_leg = order.terms is not None and order.parent_order_id is not None
    is_full = order.filled_quantity >= order.quantity and not is_leg
    if event.adopted is None and (is_full or order.is_open):
        order.reason = None
    _step(account, order, Step.FILLED if is_full else Step.PARTIALLY_FILLED, trade_id=fill.trade_id)
    _hold(account, order)
    book_fill(account, order, event, notional)


def _corrected(account: Account, event: TradeCorrected) -> None:
    fill, before = event.fill, event.trade
    order = _changed(account, event.order_id, fill.now)
    was, now = EXACT.multiply(before.quantity, before.price), EXACT.multiply(fill.quantity, fill.price)
    quantity, notional = EXACT.subtract(fill.quantity, before.quantity), EXACT.subtract(now, was)
    charged = EXACT.subtract(fill.fee, before.fee)
    order.filled_quantity = EXACT.add(order.filled_quantity, quantity)
    order.filled_notional = EXACT.add(order.filled_notional, notional)
    order.fees = EXACT.add(order.fees, charged)
    order.reason = fill.correction
    order.terms = replace(order.terms or NO_TERMS, has_corrections=True)
    _step(account, order, _step_of_correction(order), reason=fill.correction, trade_id=fill.trade_id)
    _hold(account, order)
    book_correction(account, order, event)


def _step_of_correction(order: Order) -> Step:
    if order.filled_quantity >= order.quantity:
        is_leg = order.parent_order_id is not None
        return Step.FILLED if order.is_open and not is_leg else Step.TRADE_CORRECTED
    return Step.TRADE_REDUCED if order.filled_quantity else Step.TRADE_BUSTED


def _measured(account: Account, event: LimitsMeasured) -> None:
    account.risk = event.risk


_EFFECTS: dict[type, Callable[[Account, Any], None]] = {
    OrderPlaced: _placed,
    OrderDenied: _denied,
    OrderAccepted: _accepted,
    OrderFilled: _filled,
    OrderClosed: _closed,
    OrderReplaced: _replaced,
    ReplaceRequested: _replace_requested,
    ReplaceDenied: _nothing,
    ReplaceRefused: _replace_refused,
    OrderTriggered: _triggered,
    CancelRequested: _cancel_requested,
    CancelRefused: _cancel_refused,
    OrderUnanswered: _unanswered,
    OrderQueried: _queried,
    FillsMissing: _nothing,
    AccountRestricted: _restricted,
    AccountReleased: _released,
    BoughtUnsettledSold: _sold_early,
    Adjusted: book_adjustment,
    ResetBegun: _reset_begun,
    AccountReset: book_reset,
    TradeCorrected: _corrected,
    LimitsMeasured: _measured,
}
