"""Opening accounts, knowing users, granting."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid5

from fleet_trading.domain import Account, AccountStatus, Adjust, EntryKind, Grant, Reason, Release, User
from fleet_trading.domain.restriction import owed
from fleet_trading.ports import Market, UnitOfWork

from .money import ACCOUNT_RESETTING, KEY_REUSED, adjust
from .orders import ACCOUNT_NOT_FOUND
from .recording import carry_out

BASE_CURRENCY = "USD"


def default_account_id(user_id: UUID) -> UUID:
    return uuid5(user_id, "paper")


async def open_default_account(uow: UnitOfWork, user: User, *, deposit: Decimal, market: Market) -> bool:
    """Keeps the user, and opens the default paper account with its opening deposit, once; False if it was there."""
    await uow.keep_user(user)
    account = Account(
        account_id=default_account_id(user.user_id),
        user_id=user.user_id,
        name="Paper",
        kind="paper",
        base_currency=BASE_CURRENCY,
        is_default=True,
        created_at=uow.now,
    )
    if not await uow.insert_account(account):
        return False
    await _open_with(uow, account, deposit, market)
    return True


async def _open_with(uow: UnitOfWork, account: Account, deposit: Decimal, market: Market) -> None:
    command = Adjust(
        transaction_id=uuid5(account.account_id, "opening deposit"),
        kind=EntryKind.DEPOSIT,
        currency=account.base_currency,
        amount=deposit,
        source="opening deposit",
        now=uow.now,
        market_at=market.market_at(),
    )
    await adjust(uow, account, command, market=market)


async def open_account(
    uow: UnitOfWork,
    *,
    account_id: UUID,
    user_id: UUID,
    name: str,
    kind: str,
    deposit: Decimal,
    most: int,
    market: Market,
) -> tuple[Account, bool] | Reason:
    """Another account, as it was opened, and whether that was before. The user's default account is locked, so that no
    two are opened at once."""
    if kind != "paper":
        return Reason("unsupported", f"Accounts are paper accounts, was {kind}.")
    account = Account(
        account_id=account_id,
        user_id=user_id,
        name=name,
        kind=kind,
        base_currency=BASE_CURRENCY,
        is_default=False,
        created_at=uow.now,
    )
    known = await uow.peek(account_id)
    if known is not None:
        account.version = 1
        return (account, True) if (known.name, known.kind) == (name, kind) else KEY_REUSED
    if await uow.count_accounts(user_id) >= most:
        return Reason("too_many_accounts", f"A user has up to {most} accounts.")
    await uow.insert_account(account)
    await _open_with(uow, account, deposit, market)
    return account, False


def grant(
    uow: UnitOfWork,
    *,
    deployment_id: UUID,
    account_id: UUID,
    user_id: UUID,
    symbols: tuple[str, ...],
    max_order_notional: Decimal | None,
    expires_at: datetime | None,
) -> Grant | Reason:
    """Lets a deployment use an account of its owner; another content is refused.

    The same again is answered as the first time and changes nothing: what has ended since stays ended."""
    account = uow.account(account_id)
    if account is None or account.user_id != user_id:
        return ACCOUNT_NOT_FOUND
    wanted = Grant(
        deployment_id=deployment_id,
        account_id=account_id,
        user_id=user_id,
        symbols=symbols,
        max_order_notional=max_order_notional,
        expires_at=expires_at,
        is_active=True,
        version=1,
    )
    known = uow.grant(deployment_id)
    if known is None:
        uow.keep_grant(wanted)
        return wanted
    if known.user_id != user_id:
        return GRANT_NOT_FOUND
    if replace(known, is_active=wanted.is_active, version=wanted.version) != wanted:
        return Reason("grant_conflict", "The deployment has another grant already.")
    return wanted


def release(uow: UnitOfWork, account: Account | None) -> bool | Reason:
    """Lets an account go on that may only reduce, once it owes nothing: whoever did so before would let it buy with what is
    not there. True: there was nothing to release."""
    if account is None:
        return ACCOUNT_NOT_FOUND
    if account.status is AccountStatus.RESETTING:
        return ACCOUNT_RESETTING
    if currencies := owed(account):
        return Reason("account_owes", f"It is short of {', '.join(currencies)}, or has less than its orders reserve.")
    return not carry_out(uow, account, Release())


GRANT_NOT_FOUND = Reason("grant_not_found", "No such grant.")


def end_grant(uow: UnitOfWork, *, deployment_id: UUID, user_id: UUID) -> Grant | Reason:
    """Ended once, it stays ended; to end it again changes nothing."""
    known = uow.grant(deployment_id)
    if known is None or known.user_id != user_id:
        return GRANT_NOT_FOUND
    if not known.is_active:
        return known
    ended = replace(known, is_active=False, version=known.version + 1)
    uow.keep_grant(ended)
    return ended
