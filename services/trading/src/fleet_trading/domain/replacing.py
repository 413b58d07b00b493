"""A replace: what may be asked of an order's venue, and what its answers mean."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import reduce

from fleet_simulator import Side
from fleet_simulator.admission import MAX_SLICES
from fleet_simulator.fees import EXACT

from .account import Account
from .checks import Denial, check_funds, check_limits, check_notional_of, check_open_for, check_price, check_quantity
from .commands import ReplaceOrder, ReportReplace, ReportReplaceReject
from .events import Event, OrderReplaced, ReplaceDenied, ReplaceRefused, ReplaceRequested
from .exact import tidy
from .group import group_of, holdings
from .order import Order
from .risk.wish import grown
from .terms import NO_TERMS, Figures
from .values import ZERO, Instrument, Pending, Reason


def replace_order(account: Account, command: ReplaceOrder) -> list[Event]:
    """What is pending already, or is so already, is not asked for again: nothing happens, whatever version is expected."""
    order = account.orders.get(command.order_id)
    if order is None:
        return []
    now = order.figures
    wanted = Figures(
        now.quantity if command.quantity is None else command.quantity,
        now.limit_price if command.limit_price is None else command.limit_price,
        now.stop_price if command.stop_price is None else command.stop_price,
    )
    if order.is_open and order.pending is not Pending.CANCEL and wanted == (order.wanted or now):
        return []
    conflict = _conflict(order, command)
    if conflict is not None:
        return [ReplaceDenied(order.order_id, conflict, is_conflict=True)]
    try:
        instrument = _check(account, order, wanted, command)
        if command.conditions.limits:
            check_limits(grown(account, order, wanted, command.conditions))
        _check_funds(account, order, wanted, instrument)
    except Denial as denial:
        return [ReplaceDenied(order.order_id, denial.reason, is_conflict=False)]
    given = command.conditions
    # On live feeds, where answers are asked for, the market's time is the wall's, and a quote may be old.
    asked_at = given.market_at if given.query_at is None else given.now
    return [ReplaceRequested(order.order_id, wanted, asked_at, given.now, given.query_at)]


def _conflict(order: Order, command: ReplaceOrder) -> Reason | None:
    if not order.is_open:
        return Reason("order_closed", f"The order cannot be replaced any more, was {order.status}.")
    if order.pending is Pending.CANCEL:
        return Reason("cancel_pending", "The order is being canceled.")
    if order.wanted is not None:
        return Reason("replace_pending", "The venue has not answered the last replace of the order.")
    if command.expected_version not in (None, order.version):
        return Reason("version_conflict", f"The order was changed, its version was {order.version}.")
    return None


def _check(account: Account, order: Order, wanted: Figures, command: ReplaceOrder) -> Instrument:
    """The checks of acceptance, of what would change."""
    instrument = command.conditions.instrument
    if instrument is None:
        raise Denial("unknown_symbol", f"No such symbol is traded here, was {order.symbol}.")
    now, terms = order.figures, order.terms or NO_TERMS
    if terms.algo is not None:
        raise Denial("unsupported", "An order that an algorithm works cannot be replaced.")
    grows = wanted.quantity > now.quantity or (wanted.limit_price or ZERO) > (now.limit_price or ZERO)
    more = max(EXACT.subtract(wanted.quantity, now.quantity), ZERO)
    check_open_for(account, command.conditions, instrument, buys=more if order.side is Side.BUY and grows else None)
    if wanted.quantity != now.quantity:
        if terms.group:
            raise Denial("unsupported", "The quantity of an order with legs, or of a leg, cannot be replaced.")
        check_quantity(wanted.quantity, instrument)
        if wanted.quantity <= order.filled_quantity:
            raise Denial("invalid_quantity", f"The quantity must be above what is filled, was {wanted.quantity:f}.")
        if terms.display_quantity is not None and wanted.quantity > terms.display_quantity * MAX_SLICES:
            raise Denial("invalid_quantity", f"The quantity must be at most {MAX_SLICES} x display_quantity.")
    if wanted.limit_price is not None and wanted.limit_price != now.limit_price:
        if not order.type.has_limit:
            raise Denial("invalid_price", f"A {order.type} order has no limit_price.")
        check_price("limit_price", wanted.limit_price, instrument)
    if wanted.stop_price is not None and wanted.stop_price != now.stop_price:
        _check_stop(order, wanted.stop_price, instrument)
    check_notional_of(wanted.quantity, wanted.limit_price or wanted.stop_price, instrument)
    return instrument


def _check_stop(order: Order, stop_price: Decimal, instrument: Instrument) -> None:
    if order.terms is None or order.terms.stop_price is None:
        raise Denial("invalid_price", f"A {order.type} order has no stop_price.")
    if order.terms.is_triggered:
        raise Denial("invalid_price", "The order has been triggered: its stop_price means nothing any more.")
    check_price("stop_price", stop_price, instrument)
    protection = order.protection_price
    # A venue keeps the protection price that an order came with. Beyond it the order would end as soon as it fires.
    if protection is not None and (stop_price > protection if order.side is Side.BUY else stop_price < protection):
        raise Denial(
            "invalid_price",
            f"The stop_price must not be beyond the protection price {protection:f}, was {stop_price:f}.",
        )


def _check_funds(account: Account, order: Order, wanted: Figures, instrument: Instrument) -> None:
    """The larger of old and new is held until the venue has answered."""
    changed = copy.copy(order)
    changed.terms = replace(order.terms or NO_TERMS, wanted=wanted)
    group = group_of(account, order)
    if group:
        after = holdings([changed if each is order else each for each in group])
        changes = [EXACT.subtract(new, each.reserved) for new, each in zip(after, group, strict=True)]
        required = reduce(EXACT.add, changes)  # What is held for the other side does not move.
    else:
        required = EXACT.subtract(changed.reservation(order.filled_quantity, order.filled_notional), order.reserved)
    if required > 0:
        check_funds(account, order.side, required, instrument)


def replaced(order: Order, command: ReportReplace) -> Iterator[Event]:
    """A fact, like a fill: what acceptance had reserved does not limit it."""
    now, wanted = order.figures, order.wanted
    told = Figures(
        now.quantity if command.quantity == now.quantity else tidy(command.quantity),
        now.limit_price if command.limit_price in (None, now.limit_price) else command.limit_price,
        now.stop_price if command.stop_price in (None, now.stop_price) else command.stop_price,
    )
    is_named = command.request is not None
    is_answer = command.code == "requested" and wanted is not None and (is_named or _is_answered(now, wanted, told))
    if (is_named or not is_answer) and _is_told_again(order, command):
        return
    if told != now or is_answer or command.code == "parent_ended":
        reason = None
        if command.code != "requested":
            reason = Reason(command.code, f"The venue changed the order, its quantity was {now.quantity:f}.")
        yield OrderReplaced(order.order_id, told, is_answer, reason, command.market_at, command.now)


_GROWS, _SHRINKS = "parent_filled", ("oco", "reduce_only", "self_trade")


def _is_told_again(order: Order, command: ReportReplace | ReportReplaceReject) -> bool:
    """An answer is told again that names another wish than the one that waits or, where its venue does not name them, has
    come before what was asked for. What the venue did unasked came in the order of its time and, at one time, made the order
    only larger or only smaller."""
    terms = order.terms or NO_TERMS
    if command.request is not None:
        return terms.wanted is None or command.request != terms.replace_request
    if isinstance(command, ReportReplaceReject) or command.code == "requested":
        return terms.asked_at is not None and command.market_at < terms.asked_at
    if terms.changed_at is None or command.market_at > terms.changed_at:
        return False
    if command.market_at < terms.changed_at:
        return True
    if command.code == _GROWS:
        return command.quantity <= order.quantity
    return command.code in _SHRINKS and command.quantity >= order.quantity


def _is_answered(now: Figures, wanted: Figures, told: Figures) -> bool:
    """Whether all that was to change is as it was wanted: an older report told again answers nothing."""
    return all(
        getattr(wanted, name) in (getattr(now, name), getattr(told, name))
        for name in ("quantity", "limit_price", "stop_price")
    )


def replace_rejected(account: Account, command: ReportReplaceReject) -> list[Event]:
    order = account.orders.get(command.order_id)
    if order is None or not order.is_open or order.wanted is None or _is_told_again(order, command):
        return []
    return [ReplaceRefused(order.order_id, command.reason, command.now)]
