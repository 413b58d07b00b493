"""The use cases: registration, login, refresh, logout."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from fleet_chassis.ids import Ids
from fleet_contracts.audit import Change
from fleet_contracts.vocabulary import Role

from .domain import (
    Client,
    EmailTaken,
    FactorNeeded,
    IdempotencyKeyReused,
    LastAdministrator,
    RefreshRefusal,
    RevokedReason,
    Session,
    Ticket,
    User,
    UserDisabled,
    UserStatus,
    UserUnknown,
    WrongCredentials,
    hash_token,
)
from .ports import UnitOfWork
from .tokens import TokenLifetimes

REGISTER = "register"
TICKET_LIFETIME = timedelta(seconds=30)
"""From getting a ticket to opening the socket is one round trip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    email: str
    password_hash: str
    display_name: str | None
    roles: tuple[Role, ...] = (Role.TRADER,)


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """`fingerprint` stands for the body that came with the key."""

    key: str
    fingerprint: bytes
    keep: timedelta


async def earlier_answer(uow: UnitOfWork, operation: str, key: IdempotencyKey) -> Mapping[str, object] | None:
    """The answer to an earlier request with this key. Raises IdempotencyKeyReused."""
    earlier = await uow.answered(operation, key.key)
    if earlier is None:
        return None
    fingerprint, answer = earlier
    if fingerprint != key.fingerprint:
        raise IdempotencyKeyReused
    return answer


async def keep_answer(uow: UnitOfWork, operation: str, key: IdempotencyKey, answer: Mapping[str, object]) -> None:
    """Remembers what this key was answered. Raises IdempotencyKeyReused if another request took it meanwhile."""
    if not await uow.remember_answer(operation, key.key, key.fingerprint, answer, key.keep):
        raise IdempotencyKeyReused


async def register(uow: UnitOfWork, command: NewUser, *, ids: Ids) -> User:
    """A new active user, told to the fleet. Raises EmailTaken."""
    user = User(
        user_id=ids.new_id(),
        email=command.email,
        display_name=command.display_name,
        roles=command.roles,
        status=UserStatus.ACTIVE,
        version=1,
        created_at=uow.now,
    )
    if not await uow.add_user(user, command.password_hash):
        raise EmailTaken
    uow.publish_user(user)
    return user


async def admit(uow: UnitOfWork, found: User, *, new_hash: str | None = None) -> User:
    """The user, whose password was found right when he was `found`; it is wrong if he has another since. `new_hash`: the
    password under today's parameters. Raises WrongCredentials, UserDisabled."""
    # Locked: a session made while his status or password changes would not be ended with the others.
    user = await uow.locked_user(found.user_id)
    if user is None or user.password_version != found.password_version:
        raise WrongCredentials
    if not user.is_active:
        raise UserDisabled
    if new_hash is not None:
        await uow.set_password_hash(user.user_id, new_hash)
    return user


async def begin_session(
    uow: UnitOfWork,
    user: User,
    *,
    refresh_token: str,
    lifetimes: TokenLifetimes,
    ids: Ids,
    client: Client,
    mfa_at: datetime | None = None,
) -> Session:
    """`mfa_at`: when a second factor was shown for it."""
    session = Session(
        session_id=ids.new_id(),
        user_id=user.user_id,
        began_at=uow.now,
        ends_at=uow.now + lifetimes.session,
        last_token_expires_at=uow.now + lifetimes.access,
        mfa_at=mfa_at,
    )
    await uow.add_session(session, client)
    await uow.add_refresh_token(hash_token(refresh_token), session, uow.now + lifetimes.refresh)
    return session


async def refresh(
    uow: UnitOfWork, shown: str, *, replacement: str, lifetimes: TokenLifetimes
) -> tuple[User, Session] | RefreshRefusal:
    """Takes a refresh token for a new one. A used one ends its session: somebody has a copy.

    A refusal is returned and not raised, because the revocation that may come with it has to be committed.
    """
    token = await uow.locked_refresh_token(hash_token(shown))
    if token is None:
        return RefreshRefusal.UNKNOWN
    refusal = token.refusal(uow.now)
    if refusal is not None:
        if refusal is RefreshRefusal.REUSED:
            await uow.revoke_session(token.session, RevokedReason.REUSE)
        return refusal
    session = dataclasses.replace(token.session, last_token_expires_at=uow.now + lifetimes.access)
    await uow.use_refresh_token(token)
    await uow.add_refresh_token(hash_token(replacement), session, uow.now + lifetimes.refresh)
    await uow.prolong_session(session.session_id, session.last_token_expires_at)
    return token.user, session


async def give_ticket(uow: UnitOfWork, ticket: str, *, session_id: UUID, scopes: Iterable[str]) -> None:
    """Lets the ticket open one socket with what the caller may do."""
    await uow.add_ticket(hash_token(ticket), session_id, sorted(scopes), uow.now + TICKET_LIFETIME)


async def redeem_ticket(uow: UnitOfWork, ticket: str, *, lifetimes: TokenLifetimes) -> Ticket | None:
    """What the ticket stands for, once. The socket may outlive every access token of its session, so that a revocation
    has to be told for as long."""
    found = await uow.take_ticket(hash_token(ticket))
    if found is None or not found.is_good(uow.now):
        return None
    is_living = await uow.prolong_living_session(found.session.session_id, uow.now + lifetimes.access)
    return found if is_living else None


async def log_out(uow: UnitOfWork, session_id: UUID) -> None:
    """Ends the session; once ended, nothing more is done."""
    session = await uow.locked_session(session_id)
    if session is not None and session.revoked_at is None:
        await uow.revoke_session(session, RevokedReason.LOGOUT)


async def end_sessions(uow: UnitOfWork, user_id: UUID, reason: RevokedReason, *, keep: UUID | None = None) -> None:
    """Ends all sessions of a user, whose row is locked, but `keep`."""
    for session in await uow.living_sessions(user_id):
        if session.session_id != keep:
            await uow.revoke_session(session, reason)


async def change_user(
    uow: UnitOfWork,
    user_id: UUID,
    *,
    roles: Collection[Role] | None,
    status: UserStatus | None,
    by: UUID,
    has_fresh_factor: bool,
) -> User:
    """Other roles or another status, told to the fleet; his sessions end, so that no token says what was so before.

    Raises UserUnknown, LastAdministrator, FactorNeeded.
    """
    user = await uow.locked_user(user_id)
    if user is None:
        raise UserUnknown
    changed = dataclasses.replace(
        user,
        roles=user.roles if roles is None else tuple(role for role in Role if role in roles),
        status=user.status if status is None else status,
    )
    if changed == user:
        return user
    if user_id == by and not (Role.ADMIN in changed.roles and changed.is_active):
        raise LastAdministrator
    if changed.may_more_than(user) and not has_fresh_factor:
        raise FactorNeeded
    changed = dataclasses.replace(changed, version=user.version + 1)
    await uow.change_user(changed)
    await end_sessions(uow, user_id, RevokedReason.USER_CHANGED)
    uow.publish_user(changed)
    changes = [
        Change(name=name, before=before, after=after)
        for name, before, after in (
            ("roles", ",".join(user.roles), ",".join(changed.roles)),
            ("status", user.status, changed.status),
        )
        if before != after
    ]
    await uow.note("user.changed", str(user_id), *changes, actor=str(by))
    return changed
