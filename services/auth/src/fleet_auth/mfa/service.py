"""The use cases of second factors. A refused code is returned and not raised: the failure has to be committed."""

from uuid import UUID

from fleet_auth import service
from fleet_auth.domain import RevokedReason, User, hash_token
from fleet_auth.notices.domain import Event
from fleet_auth.notices.service import Notices
from fleet_auth.ports import UnitOfWork

from .domain import (
    CHALLENGE_LIFETIME,
    NO_FACTOR,
    UNKNOWN_TOKEN,
    WRONG_CODE,
    AlreadyEnabled,
    CodeRefused,
    NotEnabled,
    Totp,
    hash_recovery_code,
    new_recovery_codes,
    new_totp_secret,
)
from .store import SecondFactors


async def begin_totp(factors: SecondFactors, user_id: UUID) -> str:
    """A new secret, asked for nowhere until a code of it was shown. Raises AlreadyEnabled."""
    secret = new_totp_secret()
    if not await factors.begin(user_id, secret):
        raise AlreadyEnabled
    return secret


async def confirm_totp(factors: SecondFactors, notices: Notices, user_id: UUID, code: str) -> list[str] | CodeRefused:
    """The recovery codes, once a code shows that the user has the secret. Raises AlreadyEnabled."""
    totp = await factors.locked(user_id)
    if totp is not None and totp.is_confirmed:
        raise AlreadyEnabled
    refused = NO_FACTOR if totp is None else await _look_at(factors, notices, totp, code)
    if refused is not None:
        return refused
    codes = new_recovery_codes()
    await factors.confirm(user_id, [hash_recovery_code(user_id, one) for one in codes])
    await notices.add(user_id, Event.FACTOR_SET_UP)
    return codes


async def renew_recovery_codes(factors: SecondFactors, notices: Notices, user_id: UUID) -> list[str] | CodeRefused:
    """Ten new ones; those there were count no more."""
    totp = await factors.locked(user_id)
    if totp is None or not totp.is_confirmed:
        return NO_FACTOR
    codes = new_recovery_codes()
    await factors.set_recovery_codes(user_id, [hash_recovery_code(user_id, one) for one in codes])
    await notices.add(user_id, Event.RECOVERY_CODES_MADE)
    return codes


async def reset(uow: UnitOfWork, factors: SecondFactors, notices: Notices, user_id: UUID, *, by: str) -> User:
    """Takes the factor of somebody who has lost it away, by an operator: his sessions end, and he logs in with his password
    alone. Raises NotEnabled."""
    user = await uow.locked_user(user_id)
    if user is None or not user.mfa_enabled:
        raise NotEnabled
    await factors.remove(user_id)
    await service.end_sessions(uow, user_id, RevokedReason.USER_CHANGED)
    await notices.add(user_id, Event.FACTOR_RESET)
    await uow.note("second_factor.reset", str(user_id), actor=by)
    return user


async def show_code(factors: SecondFactors, notices: Notices, user_id: UUID, code: str) -> CodeRefused | None:
    """None if it is the user's: a TOTP code or a recovery code, used up by it."""
    totp = await factors.locked(user_id)
    if totp is None or not totp.is_confirmed:
        return NO_FACTOR
    return await _look_at(factors, notices, totp, code)


async def challenge(factors: SecondFactors, user_id: UUID, mfa_token: str) -> None:
    """A login whose password was right waits for its code."""
    await factors.add_challenge(hash_token(mfa_token), user_id, factors.now + CHALLENGE_LIFETIME)


async def answer_challenge(
    uow: UnitOfWork, factors: SecondFactors, notices: Notices, mfa_token: str, code: str
) -> User | CodeRefused:
    """Whose login it is, once. Raises UserDisabled."""
    token_hash = hash_token(mfa_token)
    user_id = await factors.challenged(token_hash)
    found = None if user_id is None else await uow.user(user_id)
    if found is None:
        return UNKNOWN_TOKEN
    # Locked before the rest, as by who sets another password, which ends the challenge.
    user = await service.admit(uow, found)
    refused = await show_code(factors, notices, user.user_id, code)
    if refused is not None:
        return refused
    return user if await factors.end_challenge(token_hash) else UNKNOWN_TOKEN


async def _look_at(factors: SecondFactors, notices: Notices, totp: Totp, code: str) -> CodeRefused | None:
    refused = totp.refusal(factors.now)
    if refused is not None:
        return refused
    step = totp.step_of(code, factors.now)
    if step is not None:
        await factors.use_step(totp.user_id, step)
        return None
    if await factors.use_recovery_code(totp.user_id, hash_recovery_code(totp.user_id, code)):
        left = await factors.recovery_codes_left(totp.user_id)
        await notices.add(totp.user_id, Event.RECOVERY_CODE_USED, f"{left} are left")
        return None
    failures = totp.failures + 1
    await factors.count_failure(totp.user_id, failures, totp.blocked_after(failures, factors.now))
    return WRONG_CODE
