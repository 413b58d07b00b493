"""`apply(account, event)`: makes it so, and notes what must be written."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never
from uuid import UUID, uuid5

from fleet_simulator import Side
from fleet_simulator.fees import EXACT

from .account import Account, Balance, Position
from .events import (
    AccountRestricted,
    CancelRefused,
    CancelRequested,
    Deposited,
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
    TradeCorrected,
)
from .group import group_of, holdings, is_whole
from .ledger import Book, Entry, EntryKind
from .order import Order, Trade, share
from .terms import NO_TERMS, Figures
from .values import ZERO, AccountStatus, Pending, Stand


def apply(account: Account, event: Event) -> None:
    _EFFECTS[type(event)](account, event)


def _placed(account: Account, event: OrderPlaced) -> None:
    for order in (event.order, *event.legs):
        _add(account, order)
        _reserve(account, order, ZERO)


def _denied(account: Account, event: OrderDenied) -> None:
    _add(account, event.order)


def _add(account: Account, order: Order) -> None:
    account.orders[order.order_id] = order
    account.changes.placed[order.order_id] = order
    account.changes.market_at = order.market_at


def _reserve(account: Account, order: Order, before: Decimal) -> None:
    """Moves the balance's reserved from what the order held before to what it holds now."""
    if order.reserved == before:
        return
    currency = order.reserved_currency
    balance = _balance(account, currency)
    balance.reserved = EXACT.add(balance.reserved, EXACT.subtract(order.reserved, before)) or ZERO


def _balance(account: Account, currency: str) -> Balance:
    account.changes.currencies.add(currency)
    balance = account.balances.get(currency)
    if balance is None:
        balance = account.balances[currency] = Balance()
    return balance


def _changed(account: Account, order_id: UUID, now: datetime) -> Order:
    """The order, one version on."""
    order = account.orders[order_id]
    order.version += 1
    order.updated_at = now
    _note(account, order)
    return order


def _note(account: Account, order: Order) -> None:
    if order.order_id not in account.changes.placed:
        account.changes.orders[order.order_id] = order


def _accepted(account: Account, event: OrderAccepted) -> None:
    order = _changed(account, event.order_id, event.now)
    order.is_accepted = True
    order.reason = None
    _heard(order)


def _heard(order: Order) -> None:
    """The venue has the order. What was asked since is not answered by that, and is still to be asked about."""
    if order.pending is Pending.CANCEL or order.pending is Pending.REPLACE:
        return
    order.query_at = None
    order.pending = Pending.NONE


def _closed(account: Account, event: OrderClosed) -> None:
    order = _changed(account, event.order_id, event.now)
    order.stand = event.stand
    order.reason = event.reason
    _ended(account, order)


def _ended(account: Account, order: Order) -> None:
    order.pending = Pending.NONE
    order.query_at = None
    _hold(account, order)


def _hold(account: Account, order: Order) -> None:
    """What the order, or its group, must hold as it stands now."""
    if order.terms is not None and order.terms.group:
        _hold_together(account, group_of(account, order), order.updated_at)
        return
    held = order.reserved
    order.reserved = order.reservation(order.filled_quantity, order.filled_notional) if order.is_open else ZERO
    _reserve(account, order, held)


def _hold_together(account: Account, orders: Sequence[Order], now: datetime) -> None:
    for order in orders:
        if order.is_open and is_whole(order, orders):
            _changed(account, order.order_id, now)
            order.stand, order.pending, order.query_at, order.reason = Stand.FILLED, Pending.NONE, None, None
    for order, amount in zip(orders, holdings(orders), strict=True):
        held, order.reserved = order.reserved, amount
        if held != amount:
            _note(account, order)
            _reserve(account, order, held)


def _want(order: Order, wanted: Figures | None) -> None:
    order.terms = replace(order.terms or NO_TERMS, wanted=wanted)


def _replace_requested(account: Account, event: ReplaceRequested) -> None:
    order = _changed(account, event.order_id, event.now)
    _want(order, event.wanted)
    order.pending = Pending.REPLACE
    order.query_at = event.query_at
    order.queries = 0
    _hold(account, order)


def _replace_refused(account: Account, event: ReplaceRefused) -> None:
    order = _changed(account, event.order_id, event.now)
    _answered(order)
    order.reason = event.reason
    _hold(account, order)


def _answered(order: Order) -> None:
    """A replace is; a cancel that was asked for since is not."""
    _want(order, None)
    if order.pending is Pending.REPLACE:
        order.pending = Pending.NONE if order.is_accepted else Pending.NEW
        order.query_at = None


def _replaced(account: Account, event: OrderReplaced) -> None:
    order = _changed(account, event.order_id, event.now)
    terms = order.terms or NO_TERMS
    figures = event.figures
    order.terms = replace(terms, first=terms.first or order.figures, stop_price=figures.stop_price)
    order.quantity, order.limit_price = figures.quantity, figures.limit_price
    order.is_accepted = True
    order.reason = event.reason
    if event.is_answer:
        _answered(order)
    _heard(order)
    # A leg can grow while the order is open that it waits for; what its venue says after that is the last word.
    parent = account.orders.get(order.parent_order_id) if order.parent_order_id is not None else None
    if order.filled_quantity and order.filled_quantity >= order.quantity and (parent is None or not parent.is_open):
        order.stand = Stand.FILLED
        _ended(account, order)
    else:
        _hold(account, order)


def _triggered(account: Account, event: OrderTriggered) -> None:
    order = _changed(account, event.order_id, event.now)
    order.terms = replace(order.terms or NO_TERMS, is_triggered=True)
    order.is_accepted = True
    order.reason = None
    _heard(order)


def _cancel_requested(account: Account, event: CancelRequested) -> None:
    order = _changed(account, event.order_id, event.now)
    order.pending = Pending.CANCEL
    order.query_at = event.query_at


def _cancel_refused(account: Account, event: CancelRefused) -> None:
    order = _changed(account, event.order_id, event.now)
    order.is_accepted = True
    order.pending = Pending.NONE if order.wanted is None else Pending.REPLACE
    if order.wanted is None:
        order.query_at = None
    order.reason = event.reason


def _unanswered(account: Account, event: OrderUnanswered) -> None:
    _changed(account, event.order_id, event.now).reason = event.reason


def _queried(account: Account, event: OrderQueried) -> None:
    order = account.orders[event.order_id]
    order.queries = event.attempt
    order.query_at = event.next_at
    _note(account, order)


def _nothing(account: Account, event: FillsMissing | ReplaceDenied) -> None:
    """Only told: of what is missing nothing else is known, and what is denied changes nothing."""


def _restricted(account: Account, event: AccountRestricted) -> None:
    if account.status is not AccountStatus.REDUCE_ONLY:
        account.status = AccountStatus.REDUCE_ONLY
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
    if order.filled_quantity >= order.quantity and not is_leg:
        order.stand = Stand.FILLED
        order.reason = None if event.adopted is None else order.reason
        _ended(account, order)
    else:
        if order.is_open:
            order.stand = Stand.PARTIALLY_FILLED
            order.reason = None
            _heard(order)
        _hold(account, order)
    _book_fill(account, order, event, notional)
    position = account.positions.get(order.symbol)
    if position is None:
        position = account.positions[order.symbol] = Position()
    account.changes.symbols.add(order.symbol)
    move(position, fill.quantity if order.side is Side.BUY else fill.quantity.copy_negate(), notional)


def _book_fill(account: Account, order: Order, event: OrderFilled, notional: Decimal) -> None:
    fill = event.fill
    account.trade_no += 1
    trade = Trade(
        trade_id=fill.trade_id,
        trade_no=account.trade_no,
        order_id=order.order_id,
        account_id=account.account_id,
        symbol=order.symbol,
        side=order.side,
        quantity=fill.quantity,
        price=fill.price,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=fill.liquidity,
        venue=fill.venue,
        venue_trade_id=fill.venue_trade_id,
        executed_at=fill.executed_at,
        market_at=fill.market_at,
        revision=fill.revision,
    )
    account.known_trades[trade.trade_id] = trade
    account.changes.trades.append(trade)
    account.changes.market_at = fill.market_at
    is_buy = order.side is Side.BUY
    posting = _Posting(account, event, f"trade {fill.trade_id}")
    posting.pair(EntryKind.TRADE, order.quote, notional.copy_negate() if is_buy else notional, Book.COUNTERPARTY)
    posting.pair(
        EntryKind.TRADE, order.base, fill.quantity if is_buy else fill.quantity.copy_negate(), Book.COUNTERPARTY
    )
    if fill.fee:
        posting.pair(EntryKind.FEE, fill.fee_currency, fill.fee.copy_negate(), Book.FEES)


def _corrected(account: Account, event: TradeCorrected) -> None:
    """The order and the ledger take the difference; the position what the opposite trade and then the true one make of it."""
    fill, before = event.fill, event.trade
    order = _changed(account, event.order_id, fill.now)
    trade = replace(before, quantity=fill.quantity, price=fill.price, fee=fill.fee, revision=fill.revision)
    account.known_trades[trade.trade_id] = trade
    account.changes.corrected.append(trade)
    account.changes.market_at = fill.market_at
    was, now = EXACT.multiply(before.quantity, before.price), EXACT.multiply(fill.quantity, fill.price)
    quantity, notional = EXACT.subtract(fill.quantity, before.quantity), EXACT.subtract(now, was)
    charged = EXACT.subtract(fill.fee, before.fee)
    order.filled_quantity = EXACT.add(order.filled_quantity, quantity)
    order.filled_notional = EXACT.add(order.filled_notional, notional)
    order.fees = EXACT.add(order.fees, charged)
    order.reason = fill.correction
    order.terms = replace(order.terms or NO_TERMS, has_corrections=True)
    is_full = order.filled_quantity >= order.quantity
    if order.is_open:
        is_leg = order.parent_order_id is not None
        order.stand = Stand.PARTIALLY_FILLED if order.filled_quantity else Stand.NEW
        if is_full and not is_leg:
            order.stand, order.pending, order.query_at = Stand.FILLED, Pending.NONE, None
    elif order.stand is Stand.FILLED and not is_full:
        order.stand = Stand.CANCELED
    _hold(account, order)
    sign = Decimal(1 if order.side is Side.BUY else -1)
    posting = _Posting(account, event, f"correction {fill.revision} of trade {fill.trade_id}")
    for currency, amount, against in (
        (order.quote, EXACT.multiply(notional, -sign), Book.COUNTERPARTY),
        (order.base, EXACT.multiply(quantity, sign), Book.COUNTERPARTY),
        (before.fee_currency, charged.copy_negate(), Book.FEES),
    ):
        if amount:
            posting.pair(EntryKind.CORRECTION, currency, amount, against)
    account.changes.symbols.add(order.symbol)
    position = account.positions[order.symbol]
    for size, cost in ((EXACT.multiply(before.quantity, -sign), was), (EXACT.multiply(fill.quantity, sign), now)):
        if size:
            move(position, size, cost)


class _Posting:
    """Writes the balanced pairs of one transaction."""

    def __init__(self, account: Account, event: OrderFilled | TradeCorrected | Deposited, reference: str) -> None:
        self._account = account
        self._reference = reference
        match event:
            case OrderFilled(fill=fill):
                self._transaction_id, self._at, self._market_at = fill.trade_id, fill.now, fill.market_at
            case TradeCorrected(fill=fill):
                self._transaction_id, self._at = uuid5(fill.trade_id, str(fill.revision)), fill.now
                self._market_at = fill.market_at
            case Deposited():
                self._transaction_id, self._at, self._market_at = event.transaction_id, event.now, event.market_at
            case _:
                assert_never(event)

    def pair(self, kind: EntryKind, currency: str, amount: Decimal, against: Book) -> None:
        """The client's balance changes by `amount`, the house's book by its opposite."""
        balance = _balance(self._account, currency)
        balance.total = EXACT.add(balance.total, amount) or ZERO
        self._entry(kind, currency, amount, Book.CLIENT, balance.total)
        self._entry(kind, currency, amount.copy_negate(), against, None)

    def _entry(self, kind: EntryKind, currency: str, amount: Decimal, book: Book, after: Decimal | None) -> None:
        account = self._account
        account.entry_no += 1
        account.changes.entries.append(
            Entry(
                entry_no=account.entry_no,
                transaction_id=self._transaction_id,
                book=book,
                kind=kind,
                currency=currency,
                amount=amount,
                balance_after=after,
                reference=self._reference,
                # T+0: the paper venue settles at once. A venue that settles later brings its own rule.
                settles_on=self._market_at.date(),
                at=self._at,
                market_at=self._market_at,
            )
        )


def move(position: Position, quantity: Decimal, notional: Decimal) -> None:
    """Adds a signed quantity that was traded for `notional` (both sides above 0), at average cost.

    What reduces takes its share of the cost out, rounded to 12 decimals, all of it with the last unit, so that cost
    that came in equals cost that went out; what goes through zero opens anew at the price of this trade."""
    before = position.quantity
    after = EXACT.add(before, quantity)
    signed_cost = notional if quantity > 0 else notional.copy_negate()
    if before == 0 or (before > 0) == (quantity > 0):
        position.quantity, position.cost = after, EXACT.add(position.cost, signed_cost)
        return
    size, held = quantity.copy_abs(), before.copy_abs()
    if size <= held:
        released = position.cost if size == held else share(position.cost, size, held)
        _release(position, released, signed_cost)
        position.quantity = after or ZERO
        return
    closing = share(signed_cost, held, size)
    _release(position, position.cost, closing)
    position.quantity, position.cost = after, EXACT.subtract(signed_cost, closing)


def _release(position: Position, released: Decimal, traded_for: Decimal) -> None:
    """`released` cost leaves; `traded_for` is the signed cost of the trade that lets it go, so the two offset."""
    position.cost = EXACT.subtract(position.cost, released) or ZERO
    position.realized_pnl = EXACT.subtract(position.realized_pnl, EXACT.add(released, traded_for)) or ZERO


def _deposited(account: Account, event: Deposited) -> None:
    posting = _Posting(account, event, event.source)
    posting.pair(EntryKind.DEPOSIT, event.currency, event.amount, Book.FUNDING)
    account.changes.market_at = event.market_at
    if event.currency == account.base_currency and account.day is not None:
        account.day_open_equity = EXACT.add(account.day_open_equity, event.amount)


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
    Deposited: _deposited,
    TradeCorrected: _corrected,
}
