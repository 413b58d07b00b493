"""What a fact does to the books: balanced entries, trades, and positions at average cost."""

from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID, uuid5

from fleet_simulator import Side
from fleet_simulator.fees import EXACT

from .account import Account, Balance, Position
from .commands import ReportFill
from .events import AccountReset, Adjusted, OrderFilled, TradeCorrected
from .exact import share, tidy
from .ledger import AGAINST, FLOWS, Book, EntryKind, Pair, Posting
from .order import Order, Trade
from .settlement import hold_at_most, hold_otherwise, hold_until, take_early, unsettled
from .values import ZERO, AccountStatus


def balance_of(account: Account, currency: str) -> Balance:
    """To be changed."""
    account.changes.currencies.add(currency)
    balance = account.balances.get(currency)
    if balance is None:
        balance = account.balances[currency] = Balance()
    return balance


def book_fill(account: Account, order: Order, event: OrderFilled, notional: Decimal) -> None:
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
    paid = notional.copy_negate() if is_buy else notional
    got = fill.quantity if is_buy else fill.quantity.copy_negate()
    posting = _begin(
        account, fill.trade_id, f"trade {fill.trade_id}", fill.now, fill.market_at, settles_on=fill.settles_on
    )
    _settle(account, order, fill, notional)
    _post(account, posting, EntryKind.TRADE, order.quote, paid, against=Book.COUNTERPARTY)
    _post(account, posting, EntryKind.TRADE, order.base, got, against=Book.COUNTERPARTY)
    if fill.fee:
        _post(account, posting, EntryKind.FEE, fill.fee_currency, fill.fee.copy_negate(), against=Book.FEES)
    _move(account, order.symbol, got, notional, fill.market_at)


def _settle(account: Account, order: Order, fill: ReportFill, notional: Decimal) -> None:
    """Before the balances change. Proceeds may be spent before they have come; what they bought is held until then."""
    day = fill.market_at.date()
    quote, base = balance_of(account, order.quote), balance_of(account, order.base)
    if order.side is Side.SELL:
        take_early(base, fill.quantity, day)
        if fill.settles_on is not None:
            hold_until(quote, notional, fill.settles_on, day)
    elif quote.unsettled:
        cost = EXACT.add(notional, fill.fee) if fill.fee_currency == order.quote else notional
        if cost > EXACT.subtract(quote.total, unsettled(quote, day)):
            hold_until(base, fill.quantity, max(quote.unsettled), day)


def _move(account: Account, symbol: str, quantity: Decimal, notional: Decimal, at: datetime) -> None:
    if not quantity:
        return
    position = account.positions.get(symbol)
    if position is None:
        position = account.positions[symbol] = Position()
    account.changes.symbols.add(symbol)
    before = position.quantity
    move(position, quantity, notional)
    if not position.quantity:
        position.opened_at = None
    elif not before or (before > 0) != (position.quantity > 0):
        position.opened_at = at


def book_correction(account: Account, order: Order, event: TradeCorrected) -> None:
    """The ledger takes the difference; the position what the opposite trade and then the true one make of it."""
    fill, before = event.fill, event.trade
    trade = replace(before, quantity=fill.quantity, price=fill.price, fee=fill.fee, revision=fill.revision)
    account.known_trades[trade.trade_id] = trade
    account.changes.correct(trade)
    account.changes.market_at = fill.market_at
    was, now = EXACT.multiply(before.quantity, before.price), EXACT.multiply(fill.quantity, fill.price)
    quantity, notional = EXACT.subtract(fill.quantity, before.quantity), EXACT.subtract(now, was)
    charged = EXACT.subtract(fill.fee, before.fee)
    sign = Decimal(1 if order.side is Side.BUY else -1)
    transaction_id = uuid5(fill.trade_id, str(fill.revision))
    reference = f"correction {fill.revision} of trade {fill.trade_id}"
    posting = _begin(account, transaction_id, reference, fill.now, fill.market_at, settles_on=fill.settles_on)
    for currency, amount, against in (
        (order.quote, EXACT.multiply(notional, -sign), Book.COUNTERPARTY),
        (order.base, EXACT.multiply(quantity, sign), Book.COUNTERPARTY),
        (before.fee_currency, charged.copy_negate(), Book.FEES),
    ):
        if amount:
            _post(account, posting, EntryKind.CORRECTION, currency, amount, against=against)
    day = fill.market_at.date()
    if order.side is Side.SELL and fill.settles_on is not None:
        hold_otherwise(balance_of(account, order.quote), notional, fill.settles_on, day)
    hold_at_most(balance_of(account, order.base), day)
    for size, cost in ((EXACT.multiply(before.quantity, -sign), was), (EXACT.multiply(fill.quantity, sign), now)):
        _move(account, order.symbol, size, cost, fill.market_at)


def _begin(
    account: Account,
    transaction_id: UUID,
    reference: str,
    at: datetime,
    market_at: datetime,
    *,
    settles_on: date | None = None,
) -> Posting:
    posting = Posting(transaction_id, reference, settles_on or market_at.date(), at, market_at)
    account.changes.postings.append(posting)
    return posting


def _post(
    account: Account, posting: Posting, kind: EntryKind, currency: str, amount: Decimal, *, against: Book
) -> None:
    """The client's balance changes by `amount`, the house's book by its opposite."""
    balance = balance_of(account, currency)
    balance.total = EXACT.add(balance.total, amount) or ZERO
    posting.pairs.append(Pair(account.entry_no + 1, kind, currency, amount, balance.total, against))
    account.entry_no += 2


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
        released = cost_of(position, size)
        _release(position, released, signed_cost)
        position.quantity = after or ZERO
        return
    closing = share(signed_cost, held, size)
    _release(position, position.cost, closing)
    position.quantity, position.cost = after, EXACT.subtract(signed_cost, closing)


def cost_of(position: Position, size: Decimal) -> Decimal:
    """What so much of it, which is no more than there is, has cost on average; below 0 if it is short."""
    held = position.quantity.copy_abs()
    return position.cost if size == held else share(position.cost, size, held)


def _release(position: Position, released: Decimal, traded_for: Decimal) -> None:
    """`released` cost leaves; `traded_for` is the signed cost of the trade that lets it go, so the two offset."""
    position.cost = EXACT.subtract(position.cost, released) or ZERO
    position.realized_pnl = EXACT.subtract(position.realized_pnl, EXACT.add(released, traded_for)) or ZERO


def book_adjustment(account: Account, event: Adjusted) -> None:
    posting = _begin(account, event.transaction_id, event.source, event.now, event.market_at)
    _post(account, posting, event.kind, event.currency, event.amount, against=AGAINST[event.kind])
    account.changes.market_at = event.market_at
    worth = event.amount
    if event.in_kind is not None:
        worth = event.in_kind.worth
        _move(account, event.in_kind.symbol, event.amount, event.in_kind.cost.copy_abs(), event.market_at)
    if event.kind in FLOWS and account.day is not None:
        account.day_open_equity = EXACT.add(account.day_open_equity, worth)
    peak = account.risk.peak_equity
    if event.kind in FLOWS and peak is not None:
        account.risk = replace(account.risk, peak_equity=peak_after(peak, event.equity, worth))


def peak_after(peak: Decimal, equity: Decimal, flow: Decimal) -> Decimal:
    """What is paid in is no profit to fall from, nor is what is taken out a loss: as large a part of the highest equity is lost
    after it as before. Of what was worth nothing, or is then, the same amount is."""
    after = EXACT.add(equity, flow)
    if equity <= 0 or after <= 0:
        return EXACT.add(peak, flow)
    # To more decimals than any amount has, that what is left of an account which is emptied still has its peak.
    return tidy(share(peak, after, equity, places=24))


def book_reset(account: Account, event: AccountReset) -> None:
    """Positions begin anew with the balances; what was traded stays to be seen, and counts no more."""
    posting = _begin(account, event.transaction_id, "reset", event.now, event.market_at)
    for currency in sorted(account.balances):
        if held := account.balances[currency].total:
            _post(account, posting, EntryKind.RESET, currency, held.copy_negate(), against=Book.FUNDING)
    _post(account, posting, EntryKind.RESET, account.base_currency, event.opening, against=Book.FUNDING)
    for balance in account.balances.values():
        balance.unsettled.clear()
    account.changes.currencies.update(account.balances)
    account.changes.symbols.update(account.positions)
    account.positions = {symbol: Position() for symbol in account.positions}
    account.epoch_trade_no = account.trade_no
    account.status = AccountStatus.ACTIVE
    account.changes.is_status = True
    account.changes.market_at = event.market_at
    account.day, account.day_open_equity = event.market_at.date(), event.opening
    account.risk = replace(account.risk, peak_equity=None)
