"""The use cases: asking for a confirmation, confirming, and passwords changed or set anew."""

from uuid import UUID

from fleet_chassis.ids import Ids

from fleet_auth import service
from fleet_auth.domain import RevokedReason, User, hash_token
from fleet_auth.guessing.service import FOR_MAIL
from fleet_auth.guessing.store import Attempts
from fleet_auth.passwords import PasswordRefused
from fleet_auth.ports import UnitOfWork
from fleet_auth.service import NewUser

from .domain import LIFETIME, Confirmation, ConfirmationUnknown, NewPassword, Purpose
from .store import Confirmations


async def ask(
    uow: UnitOfWork,
    confirmations: Confirmations,
    attempts: Attempts,
    purpose: Purpose,
    email: str,
    *,
    ids: Ids,
    password_hash: str | None = None,
    display_name: str | None = None,
) -> None:
    """Has the owner of the address asked, if there is one: that is looked at later, so that it cannot be felt here. Each purpose
    has mails of its own, or whoever registers an address would keep its owner from setting his password anew."""
    if await attempts.one_more((f"{purpose} mail to {email}", FOR_MAIL)) is None:
        await confirmations.add(
            Confirmation(
                confirmation_id=ids.new_id(),
                purpose=purpose,
                email=email,
                password_hash=password_hash,
                display_name=display_name,
                expires_at=uow.now + LIFETIME,
            )
        )


async def confirm_registration(uow: UnitOfWork, confirmations: Confirmations, token: str, *, ids: Ids) -> User:
    """The new user. Raises ConfirmationUnknown, and EmailTaken if another registration was confirmed first."""
    confirmed = await confirmations.take(hash_token(token), Purpose.REGISTRATION)
    if confirmed is None or confirmed.password_hash is None:
        raise ConfirmationUnknown
    command = NewUser(email=confirmed.email, password_hash=confirmed.password_hash, display_name=confirmed.display_name)
    return await service.register(uow, command, ids=ids)


async def reset_password(
    uow: UnitOfWork, confirmations: Confirmations, attempts: Attempts, token: str, new: NewPassword
) -> User:
    """Sets the password and ends all sessions: whoever was in may have been another. Raises ConfirmationUnknown,
    PasswordRefused."""
    confirmed = await confirmations.take(hash_token(token), Purpose.PASSWORD_RESET)
    found = None if confirmed is None else await uow.credentials(confirmed.email)
    if found is None:
        raise ConfirmationUnknown
    user, _ = found
    await uow.locked_user(user.user_id)
    await _set_password(uow, attempts, user, new, keep=None)
    return user


async def change_password(
    uow: UnitOfWork, confirmations: Confirmations, attempts: Attempts, found: User, new: NewPassword, *, keep: UUID
) -> None:
    """Sets the password of a user whose present one was found right when he was `found`; tokens in mails that would set it
    anew count no more. Raises WrongCredentials if he has another since, UserDisabled, PasswordRefused."""
    # First, as where one of them is used.
    await confirmations.forget(found.email, Purpose.PASSWORD_RESET)
    await _set_password(uow, attempts, await service.admit(uow, found), new, keep=keep)


async def _set_password(
    uow: UnitOfWork, attempts: Attempts, user: User, new: NewPassword, *, keep: UUID | None
) -> None:
    """Every session but `keep` ends, and no address is known to be the owner's any more. Raises PasswordRefused."""
    # The user is locked, so that his factor stays from here on; it may have gone while the password was hashed.
    now = await uow.user(user.user_id) if new.is_short else None
    if now is not None and not now.mfa_enabled:
        raise PasswordRefused("password_length", "is too short without a second factor")
    await uow.set_password(user.user_id, new.password_hash, is_short=new.is_short)
    await attempts.forget_addresses(user.email)
    await service.end_sessions(uow, user.user_id, RevokedReason.PASSWORD_CHANGED, keep=keep)
