"""Opening accounts, knowing users, granting."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID, uuid5

from fleet_trading.domain import Account, Deposit, Grant, Reason, User
from fleet_trading.ports import Market, UnitOfWork

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
    command = Deposit(
        transaction_id=uuid5(account.account_id, "opening deposit"),
        currency=BASE_CURRENCY,
        amount=deposit,
        source="opening deposit",
        now=uow.now,
        market_at=market.market_at(),
    )
    carry_out(uow, account, command)
    return True


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
