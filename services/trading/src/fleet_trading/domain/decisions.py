"""`decide(account, command)`: what happens. Reads, never changes; commands may be refused, facts never are."""

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from fleet_simulator import OrderType, Side, TimeInForce
from fleet_simulator.fees import EXACT, FEE_UNIT

from .account import Account
from .commands import (
    Adjust,
    BeginReset,
    CancelOrder,
    Command,
    PlaceOrder,
    QueryUnanswered,
    Release,
    ReplaceOrder,
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
    Reset,
    VenueStand,
)
from .effects import apply
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
    OrderFilled,
    OrderQueried,
    OrderTriggered,
    OrderUnanswered,
    ReplaceRefused,
    ResetBegun,
    TradeCorrected,
)
from .group import group_of, held_by, is_whole, overfills
from .order import Order, Trade
from .placing import place
from .replacing import replace_order, replace_rejected, replaced
from .settlement import take_early
from .terms import OrderClass
from .values import ZERO, AccountStatus, Pending, Reason, Stand

FIRST_QUERY_PAUSE_S = 5
LONGEST_QUERY_PAUSE_S = 300
ALARMING_QUERIES = 3
"""From the third question without an answer on, someone should look."""


def decide(account: Account, command: Command) -> list[Event]:
    """The events of one command, in order; none where nothing changes (a report told twice, a cancel asked twice)."""
    return _DECISIONS[type(command)](account, command)


def _cancel(account: Account, command: CancelOrder) -> list[Event]:
    order = account.orders.get(command.order_id)
    if order is None or not order.is_open or order.pending is Pending.CANCEL:
        return []
    return [CancelRequested(order.order_id, command.now, command.query_at)]


def _accept(account: Account, command: ReportAccept) -> list[Event]:
    order = account.orders.get(command.order_id)
    if order is None or not order.is_open or order.is_accepted:
        return []
    return [OrderAccepted(order.order_id, command.now)]


def _reject(account: Account, command: ReportReject) -> list[Event]:
    return _close(account, command.order_id, Stand.REJECTED, command)


def _close(account: Account, order_id: Any, stand: Stand, command: Any) -> list[Event]:
    order = account.orders.get(order_id)
    if order is None:
        return []
    events: list[Event] = []
    if order.is_open:
        events.append(OrderClosed(order.order_id, stand, getattr(command, "reason", None), command.now))
        if stand is Stand.REJECTED and not order.filled_quantity and order.order_class is not OrderClass.OCO:
            # What its legs wait for has never been: they are not said to have ended one by one.
            reason = Reason("parent_ended", "The order that it waited for was rejected.")
            legs = (account.orders[leg_id] for leg_id in order.legs)
            events += [OrderClosed(leg.order_id, Stand.CANCELED, reason, command.now) for leg in legs if leg.is_open]
    told = getattr(command, "cumulative_quantity", ZERO)
    if told > order.filled_quantity:
        events += _missing(order, command)
    return events


def _missing(order: Order, command: ReportCancel | ReportExpiry | ReportReplace | ReportState) -> list[Event]:
    if order.terms is not None and order.terms.has_corrections:
        return []  # It may count what was corrected since.
    return [
        FillsMissing(order.order_id, command.cumulative_quantity, order.filled_quantity),
        OrderQueried(order.order_id, order.queries + 1, None, command.now),
    ]


def _canceled(account: Account, command: ReportCancel) -> list[Event]:
    return _close(account, command.order_id, Stand.CANCELED, command)


def _expired(account: Account, command: ReportExpiry) -> list[Event]:
    return _close(account, command.order_id, Stand.EXPIRED, command)


def _cancel_rejected(account: Account, command: ReportCancelReject) -> list[Event]:
    order = account.orders.get(command.order_id)
    if order is None or not order.is_open or order.pending is not Pending.CANCEL:
        return []
    if command.request is not None and order.terms is not None and command.request != order.terms.cancel_request:
        return []  # It answers a wish before this one, and is told again.
    return [CancelRefused(order.order_id, command.reason, command.now)]


def _replaced(account: Account, command: ReportReplace) -> list[Event]:
    order = account.orders.get(command.order_id)
    if order is None or not order.is_open:
        return []
    events = list(replaced(order, command))
    if command.cumulative_quantity > order.filled_quantity:
        events += _missing(order, command)
    return events


def _triggered(account: Account, command: ReportTrigger) -> list[Event]:
    order = account.orders.get(command.order_id)
    if order is None or not order.is_open:
        return []
    if order.terms is None:
        return _accept(account, ReportAccept(order_id=command.order_id, now=command.now))
    return [] if order.terms.is_triggered else [OrderTriggered(order.order_id, command.now)]


def _unknown(account: Account, command: ReportUnknown) -> list[Event]:
    order = account.orders.get(command.order_id)
    reason = Reason("venue_unanswered", command.detail)
    # Where nothing is pending, the venue has answered since.
    if order is None or not order.is_open or order.pending is Pending.NONE or order.reason == reason:
        return []
    return [OrderUnanswered(order.order_id, reason, command.now)]


_CLOSED_AT_VENUE = {
    VenueStand.CANCELED: Stand.CANCELED,
    VenueStand.EXPIRED: Stand.EXPIRED,
    VenueStand.REJECTED: Stand.REJECTED,
}


def _state(account: Account, command: ReportState) -> list[Event]:
    """The fills that came with it are booked by now."""
    order = account.orders.get(command.order_id)
    if order is None:
        return []
    stand = _CLOSED_AT_VENUE.get(command.stand)
    if stand is not None:
        return _close(account, command.order_id, stand, command)
    if command.cumulative_quantity > order.filled_quantity:
        return _missing(order, command) if order.queries < ALARMING_QUERIES else []
    if not order.is_open or command.stand is not VenueStand.WORKING:
        return []
    # Asked after a cancel or replace, the venue says that it works: the wish was lost or refused, and may be said again. What
    # was asked before says nothing of it.
    events: list[Event] = []
    if order.pending is Pending.CANCEL and order.queries:
        reason = Reason("cancel_unanswered", "The order works on at the venue.")
        events.append(CancelRefused(order.order_id, reason, command.now))
    if order.wanted is not None and order.queries:
        reason = Reason("replace_unanswered", "The order works on as it was at the venue.")
        events.append(ReplaceRefused(order.order_id, reason, command.now))
    return events or _accept(account, ReportAccept(order_id=order.order_id, now=command.now))


def _fill(account: Account, command: ReportFill) -> list[Event]:
    known = account.known_trades.get(command.trade_id)
    if known is not None:
        # What was traded before a reset has been wiped out by it.
        is_told = command.revision <= known.revision or known.trade_no <= account.epoch_trade_no
        return [] if is_told else _corrected(account, known, command)
    if not command.quantity:
        return []  # Busted before it was heard of.
    order = account.orders.get(command.order_id)
    adopted = None
    if order is None:
        adopted = order = _adopt(account, command)
    events: list[Event] = [OrderFilled(command.order_id, command, adopted)]
    if order.side is Side.SELL and order.base in account.balances and account.balances[order.base].unsettled:
        base = copy.deepcopy(account.balances[order.base])
        day = command.market_at.date()
        if take_early(base, command.quantity, day):
            detail = f"{order.base} was sold that had been bought with proceeds which are not settled yet."
            events.append(BoughtUnsettledSold(command.order_id, Reason("good_faith_violation", detail), day))
    anomaly = _anomaly(account, order, command, is_adopted=adopted is not None)
    if anomaly is not None:
        events.append(AccountRestricted(command.order_id, anomaly, command.now))
    return events


def _corrected(account: Account, trade: Trade, command: ReportFill) -> list[Event]:
    corrected = TradeCorrected(trade.order_id, trade, command)
    after = copy.deepcopy(account)
    apply(after, corrected)
    short = [currency for currency, balance in after.balances.items() if balance.available < 0]
    if not short:
        return [corrected]
    detail = f"A trade was corrected, and less than is reserved is left of {', '.join(short)}."
    return [corrected, AccountRestricted(trade.order_id, Reason("balance_below_zero", detail), command.now)]


class UnbookableFill(Exception):
    """A fill of an order nobody knows, that does not say of what or which way: only a person can help."""


def _adopt(account: Account, fill: ReportFill) -> Order:
    if fill.symbol is None or fill.side is None:
        raise UnbookableFill(f"a fill of the unknown order {fill.order_id} names no symbol and side")
    base, _, quote = fill.symbol.partition("/")
    return Order(
        order_id=fill.order_id,
        client_order_id=f"adopted-{fill.order_id}",
        account_id=account.account_id,
        user_id=account.user_id,
        deployment_id=None,
        signal_id=None,
        strategy_id=None,
        symbol=fill.symbol,
        base=base,
        quote=quote,
        side=fill.side,
        type=OrderType.MARKET,
        quantity=fill.quantity,
        limit_price=None,
        protection_price=None,
        highest_fee=ZERO,
        time_in_force=TimeInForce.GTC,
        venue=fill.venue,
        created_at=fill.now,
        updated_at=fill.now,
        market_at=fill.market_at,
        is_accepted=True,
        reason=Reason("adopted", "The venue filled an order that was not known here."),
    )


def _anomaly(account: Account, order: Order, fill: ReportFill, *, is_adopted: bool) -> Reason | None:
    """Why acceptance had not allowed for this fill; None if it had."""
    if is_adopted:
        return Reason("fill_of_unknown_order", f"A fill of {fill.quantity:f} {fill.symbol} on an order unknown here.")
    if order.terms is not None and order.terms.group:
        return _anomaly_in_group(account, order, fill)
    filled = EXACT.add(order.filled_quantity, fill.quantity)
    if filled > order.quantity:
        return Reason("overfill", f"The order was for {order.quantity:f}, filled was {filled:f}.")
    if not order.is_open:
        return Reason("fill_of_closed_order", f"The order was {order.stand} when {fill.quantity:f} were filled.")
    notional = EXACT.multiply(fill.quantity, fill.price)
    if order.side is Side.BUY:
        spent = EXACT.add(notional, fill.fee) if fill.fee_currency == order.quote else notional
        held = order.reservation(order.filled_quantity, order.filled_notional)
        kept = order.reservation(filled, EXACT.add(order.filled_notional, notional))
        released = EXACT.subtract(held, kept)
        # The fee of an order that is worked in parts is rounded part by part.
        is_worked = order.terms is not None and order.terms.algo is not None
        if spent > (EXACT.add(released, FEE_UNIT) if is_worked else released):
            return Reason("fill_beyond_reservation", f"The fill cost {spent:f}, reserved for it was {released:f}.")
        return None
    return _oversold(account, order, fill)


def _oversold(account: Account, order: Order, fill: ReportFill) -> Reason | None:
    if account.balance(order.base).total < fill.quantity:
        return Reason("balance_below_zero", f"{fill.quantity:f} {order.base} were sold, there was less.")
    return None


def _anomaly_in_group(account: Account, order: Order, fill: ReportFill) -> Reason | None:
    """The group pays for the fill together. How large its orders are at the venue may not have been heard yet."""
    before = group_of(account, order)
    filled = copy.copy(order)
    filled.filled_quantity = EXACT.add(order.filled_quantity, fill.quantity)
    filled.filled_notional = EXACT.add(order.filled_notional, EXACT.multiply(fill.quantity, fill.price))
    after = [filled if each is order else each for each in before]
    if filled.filled_quantity > max(order.first_quantity, order.quantity) or overfills(after):
        return Reason("overfill", f"The order was for {order.first_quantity:f}, filled was {filled.filled_quantity:f}.")
    if not order.is_open:
        return Reason("fill_of_closed_order", f"The order was {order.stand} when {fill.quantity:f} were filled.")
    if is_whole(filled, after):
        filled.stand = Stand.FILLED
    released = EXACT.subtract(held_by(before, order.side), held_by(after, order.side))
    spent = fill.quantity
    if order.side is Side.BUY:
        notional = EXACT.multiply(fill.quantity, fill.price)
        spent = EXACT.add(notional, fill.fee) if fill.fee_currency == order.quote else notional
    if spent > released:
        return Reason("fill_beyond_reservation", f"The fill took {spent:f}, reserved for it was {released:f}.")
    return None if order.side is Side.BUY else _oversold(account, order, fill)


def _query(account: Account, command: QueryUnanswered) -> list[Event]:
    events: list[Event] = []
    for order in account.orders.values():
        if order.is_open and order.query_at is not None and order.query_at <= command.now:
            attempt = order.queries + 1
            pause = min(FIRST_QUERY_PAUSE_S * 2 ** min(attempt - 1, 8), LONGEST_QUERY_PAUSE_S)
            next_at = command.now + timedelta(seconds=pause)
            events.append(OrderQueried(order.order_id, attempt, next_at, command.now))
    return events


def _adjust(account: Account, command: Adjust) -> list[Event]:
    c = command
    events: list[Event] = [
        Adjusted(c.transaction_id, c.kind, c.currency, c.amount, c.source, c.now, c.market_at, c.in_kind, c.equity)
    ]
    left = EXACT.add(account.balance(c.currency).available, c.amount)
    if c.amount < 0 and left < 0:
        detail = f"{-c.amount:f} {c.currency} were taken ({c.kind}), available is {left:f}."
        events.append(AccountRestricted(None, Reason("balance_below_zero", detail), c.now))
    return events


def _release(account: Account, _command: Release) -> list[Event]:
    return [AccountReleased()] if account.status is AccountStatus.REDUCE_ONLY else []


def _begin_reset(account: Account, _command: BeginReset) -> list[Event]:
    return [] if account.status is AccountStatus.RESETTING else [ResetBegun()]


def _reset(_account: Account, command: Reset) -> list[Event]:
    return [AccountReset(command.transaction_id, command.opening, command.now, command.market_at)]


_DECISIONS: dict[type, Callable[[Account, Any], list[Event]]] = {
    PlaceOrder: place,
    ReplaceOrder: replace_order,
    CancelOrder: _cancel,
    ReportAccept: _accept,
    ReportReject: _reject,
    ReportFill: _fill,
    ReportCancel: _canceled,
    ReportCancelReject: _cancel_rejected,
    ReportReplace: _replaced,
    ReportReplaceReject: replace_rejected,
    ReportTrigger: _triggered,
    ReportExpiry: _expired,
    ReportUnknown: _unknown,
    ReportState: _state,
    QueryUnanswered: _query,
    Adjust: _adjust,
    Release: _release,
    BeginReset: _begin_reset,
    Reset: _reset,
}
