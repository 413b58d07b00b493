"""What moves money but no trade: deposits and other entries with a source, transfers, and beginning anew."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from uuid import UUID

from fleet_simulator.fees import EXACT

from fleet_trading.domain import (
    FLOWS,
    IN_KIND,
    ZERO,
    Account,
    AccountStatus,
    Adjust,
    Adjustment,
    BeginReset,
    EntryKind,
    Growth,
    InKind,
    Reason,
    Reset,
)
from fleet_trading.domain.booking import cost_of
from fleet_trading.domain.portfolio import equity_of
from fleet_trading.domain.risk.usage import RESTRICTING
from fleet_trading.domain.settlement import unsettled
from fleet_trading.ports import Market, UnitOfWork

from .orders import ACCOUNT_NOT_FOUND, Cancellation, OrderDesk
from .recording import carry_out
from .risk import SESSION_REQUIRED

CANCEL_GROUP = 500
"""Orders cancelled in one transaction of a reset."""
PAUSE = timedelta(seconds=1)
"""Between two looks whether the orders of a reset have ended."""

ACCOUNT_RESETTING = Reason("account_resetting", "The account begins anew; its orders are being cancelled.")
KEY_REUSED = Reason("idempotency_key_reused", "This Idempotency-Key came before with another body.")


async def adjust(
    uow: UnitOfWork, account: Account, command: Adjust, *, market: Market, other_account_id: UUID | None = None
) -> Adjustment:
    """Books it with its source, and, for a flow, how the account had grown till then."""
    growth = None
    if command.kind in FLOWS:
        before = equity_of(account, market)
        command = replace(command, equity=before)
        last = await uow.last_growth(account)
        factor = Decimal(1) if last is None else last.at(before)
        worth = command.amount if command.in_kind is None else command.in_kind.worth
        growth = Growth(factor, EXACT.add(before, worth))
    carry_out(uow, account, command, market=market, day=command.market_at.date())
    return _keep(uow, account, command, growth, other_account_id)


def _keep(
    uow: UnitOfWork, account: Account, command: Adjust, growth: Growth | None, other_account_id: UUID | None = None
) -> Adjustment:
    adjustment = Adjustment(
        account_id=account.account_id,
        entry_no=account.entry_no,
        transaction_id=command.transaction_id,
        kind=command.kind,
        currency=command.currency,
        amount=command.amount,
        source=command.source,
        other_account_id=other_account_id,
        at=command.now,
        market_at=command.market_at,
        unit_cost=None if command.in_kind is None else command.in_kind.unit_cost,
        growth=growth,
    )
    uow.add_adjustment(adjustment)
    return adjustment


@dataclass(frozen=True, slots=True)
class Booked:
    adjustment: Adjustment
    is_replay: bool


async def book_entry(
    uow: UnitOfWork,
    account: Account | None,
    *,
    transaction_id: UUID,
    kind: EntryKind,
    amount: Decimal,
    currency: str,
    source: str,
    market: Market,
    unit_cost: Decimal | None = None,
) -> Booked | Reason:
    """What another part of the platform says has happened. A withdrawal is asked for and may be refused; the rest are
    facts. The same id again changes nothing. `unit_cost`: of what comes in and is not money."""
    if account is None:
        return ACCOUNT_NOT_FOUND
    for known in await uow.adjustments(transaction_id):
        said = (known.account_id, known.kind, known.amount, known.currency, known.unit_cost)
        if said != (account.account_id, kind, amount, currency, unit_cost):
            at = "" if known.unit_cost is None else f" at {known.unit_cost:f}"
            detail = f"It is booked already, as a {known.kind} of {known.amount:f} {known.currency}{at}."
            return Reason(KEY_REUSED.code, detail)
        return Booked(known, is_replay=True)
    if (
        kind is EntryKind.WITHDRAWAL
        and (short := _short(account, currency, amount.copy_negate(), market.day())) is not None
    ):
        return short
    in_kind: InKind | None = None
    if currency != account.base_currency:
        found = _in_kind(account, kind, currency, amount, unit_cost=unit_cost, market=market)
        if isinstance(found, Reason):
            return found
        in_kind = found
    elif unit_cost is not None:
        return Reason("unsupported", f"{currency} is money of the account, and has no unit_cost.")
    command = Adjust(
        transaction_id=transaction_id,
        kind=kind,
        currency=currency,
        amount=amount,
        source=source,
        now=uow.now,
        market_at=market.market_at(),
        in_kind=in_kind,
    )
    return Booked(await adjust(uow, account, command, market=market), is_replay=False)


def _in_kind(
    account: Account, kind: EntryKind, currency: str, amount: Decimal, *, unit_cost: Decimal | None, market: Market
) -> InKind | Reason:
    """What comes in comes for what is said that it cost; what is withdrawn leaves without profit or loss."""
    symbol = f"{currency}/{account.base_currency}"
    comes = amount > 0
    if kind not in IN_KIND or comes != (kind is not EntryKind.WITHDRAWAL) or market.instrument(symbol) is None:
        detail = (
            f"Besides {account.base_currency}, what is traded for it is deposited, withdrawn, or comes as a dividend"
        )
        return Reason("unsupported", f"{detail}, was a {kind} of {amount:f} {currency}.")
    if comes != (unit_cost is not None):
        return Reason("unsupported", "What comes in has a unit_cost; what is withdrawn leaves for what it has cost.")
    if unit_cost is not None:
        cost = EXACT.multiply(amount, unit_cost)
    else:
        size, held = amount.copy_negate(), account.positions.get(symbol)
        if held is None or held.quantity < size:
            quantity = ZERO if held is None else held.quantity
            return Reason("insufficient_funds", f"{size:f} of {symbol} are wanted, held was {quantity:f}.")
        cost = cost_of(held, size).copy_negate()
    mark = market.mark(symbol)
    return InKind(symbol, unit_cost, cost, cost if mark is None else EXACT.multiply(amount, mark))


def _short(account: Account, currency: str, amount: Decimal, day: date) -> Reason | None:
    balance = account.balance(currency)
    available = EXACT.subtract(balance.available, unsettled(balance, day))
    if amount <= available:
        return None
    return Reason(
        "insufficient_funds",
        f"{amount:f} {currency} are wanted, settled and not reserved was {max(available, ZERO):f}.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Between two accounts of one owner."""

    transfer_id: UUID
    user_id: UUID
    from_account_id: UUID
    to_account_id: UUID
    currency: str
    amount: Decimal


async def transfer(uow: UnitOfWork, asked: Transfer, *, market: Market) -> Booked | Reason:
    """Both sides in this transaction; both accounts are locked. The adjustment is that of the account it comes from."""
    source, target = uow.account(asked.from_account_id), uow.account(asked.to_account_id)
    if source is None or target is None or not source.user_id == target.user_id == asked.user_id:
        return ACCOUNT_NOT_FOUND
    for known in await uow.adjustments(asked.transfer_id):
        if known.amount < 0:
            same = (known.account_id, known.other_account_id, known.currency, -known.amount)
            is_same = same == (asked.from_account_id, asked.to_account_id, asked.currency, asked.amount)
            return Booked(known, is_replay=True) if is_same else KEY_REUSED
    if not asked.currency == source.base_currency == target.base_currency or source.kind != target.kind:
        return Reason("unsupported", "Money in the base currency is transferred, between accounts of one kind.")
    if AccountStatus.RESETTING in (source.status, target.status):
        return ACCOUNT_RESETTING
    short = _short(source, asked.currency, asked.amount, market.day())
    if short is not None:
        return short
    taken = Adjust(
        transaction_id=asked.transfer_id,
        kind=EntryKind.TRANSFER,
        currency=asked.currency,
        amount=asked.amount.copy_negate(),
        source=f"transfer to {target.account_id}",
        now=uow.now,
        market_at=market.market_at(),
    )
    given = replace(taken, amount=asked.amount, source=f"transfer from {source.account_id}")
    booked = await adjust(uow, source, taken, market=market, other_account_id=target.account_id)
    await adjust(uow, target, given, market=market, other_account_id=source.account_id)
    return Booked(booked, is_replay=False)


async def begin_reset(
    uow: UnitOfWork, account: Account | None, user_id: UUID, reset_id: UUID, *, is_by_key: bool
) -> bool | Reason:
    """Nothing new is accepted from here on; the rest is done once its orders have ended. True: it was asked for before.
    It forgets what was lost, and lets an account go on that only reduces, so that limits on losses, and a restriction,
    hold it back from API keys."""
    if account is None or account.user_id != user_id:
        return ACCOUNT_NOT_FOUND
    if account.kind != "paper":
        return Reason("unsupported", f"Only a paper account begins anew, was {account.kind}.")
    if account.status is AccountStatus.RESETTING or await uow.adjustments(reset_id):
        return True
    if is_by_key and account.status is AccountStatus.REDUCE_ONLY:
        return Reason(SESSION_REQUIRED, "The account may only reduce until somebody has looked, and would go on.")
    held = uow.limits.of(account.roles, account.limits.values())
    if is_by_key and (losses := sorted(RESTRICTING.intersection(held))):
        return Reason(SESSION_REQUIRED, f"What was lost would count no more for {' and '.join(losses)}.")
    carry_out(uow, account, BeginReset())
    uow.reset_later(account, reset_id, uow.now)
    return False


async def go_on_with_reset(
    uow: UnitOfWork, account: Account, reset_id: UUID, *, desk: OrderDesk, market: Market, opening: Decimal
) -> None:
    """Cancels what is open; where nothing is, the account begins anew."""
    if account.status is not AccountStatus.RESETTING:
        return
    for order in await uow.load_open_orders(account, limit=CANCEL_GROUP):
        desk.cancel(uow, Cancellation(account.account_id, account.user_id, order.order_id))
    if await uow.has_open_orders(account):
        account.changes.is_row = True
        uow.reset_later(account, reset_id, uow.now + PAUSE)
        return
    command = Reset(transaction_id=reset_id, opening=opening, now=uow.now, market_at=market.market_at())
    carry_out(uow, account, command)
    booked = Adjust(
        transaction_id=reset_id,
        kind=EntryKind.RESET,
        currency=account.base_currency,
        amount=opening,
        source="reset",
        now=command.now,
        market_at=command.market_at,
    )
    _keep(uow, account, booked, Growth(Decimal(1), opening))
