"""Routes of second factors: set up, confirmed, shown again, taken away."""

from typing import Annotated
from uuid import UUID

import segno
from fastapi import APIRouter, Response
from fleet_chassis.permissions import SessionCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Body, FastJSON, Resource
from pydantic import Field

from fleet_auth.audit.store import AuditLog
from fleet_auth.notices.domain import Event
from fleet_auth.parts import AccessTokenResource, AuthParts, not_stored
from fleet_auth.refusals import noted
from fleet_auth.store import PostgresUnitOfWork

from . import service
from .domain import RECENT_LOGIN, AlreadyEnabled, CodeRefused, otpauth_uri
from .store import SecondFactors

router = APIRouter(prefix="/api/v1/auth/mfa", tags=["auth"])

Code = Annotated[
    str,
    Field(min_length=6, max_length=40, examples=["123456"], description="Of the authenticator, or a recovery code."),
]


class CodeBody(Body):
    code: Code


class TotpResource(Resource):
    secret: str
    otpauth_uri: str
    qr_svg: str = Field(description="The URI as a picture for an authenticator.")


class RecoveryCodes(Resource):
    recovery_codes: list[str] = Field(description="Each can be shown once instead of a code; they are told only here.")


class RecoveryCodesLeft(Resource):
    left: int = Field(description="How many have not been shown yet; 0 where there is no second factor.")


@router.post("/totp", status_code=201, response_model=TotpResource)
async def begin_totp(caller: SessionCaller, auth: AuthParts) -> Response:
    """A secret for an authenticator. It counts once a code of it was verified. 403 `login_required` where the login is not of
    the last 15 minutes; 409 `mfa_enabled`."""
    try:
        async with auth.bus.transaction() as tx:
            uow = PostgresUnitOfWork(tx)
            user, session = await uow.user(caller.user_id), await uow.locked_session(UUID(caller.session_id))
            if user is None:
                raise Problem(404, "not_found", "The user does not exist.")
            if session is None or tx.now - session.began_at > RECENT_LOGIN:
                raise Problem(403, "login_required", "This needs a login within 15 minutes: log in again.")
            secret = await service.begin_totp(SecondFactors(tx, auth.sealer), user.user_id)
    except AlreadyEnabled:
        raise _already_enabled() from None
    uri = otpauth_uri(secret, user.email)
    picture = segno.make(uri, error="m").svg_inline(scale=4, border=4)
    told = TotpResource(secret=secret, otpauth_uri=uri, qr_svg=picture)
    return not_stored(told.model_dump(), 201)


@router.post("/totp/verify", response_model=RecoveryCodes)
async def verify_totp(body: CodeBody, caller: SessionCaller, auth: AuthParts) -> Response:
    """Turns the second factor on, and counts as having shown it in this session: the next refresh says so."""
    try:
        async with auth.bus.transaction() as tx:
            factors = SecondFactors(tx, auth.sealer)
            codes = await service.confirm_totp(factors, auth.notices(tx), caller.user_id, body.code)
            if not isinstance(codes, CodeRefused):
                await factors.note_shown(UUID(caller.session_id))
    except AlreadyEnabled:
        raise _already_enabled() from None
    if isinstance(codes, CodeRefused):
        raise code_problem(codes)
    return not_stored({"recovery_codes": codes})


@router.post("/totp/disable", status_code=204)
async def disable_totp(body: CodeBody, caller: SessionCaller, auth: AuthParts) -> Response:
    """Takes the second factor away, with its recovery codes. 409 `password_too_short` where the password counts beside a
    second factor only."""
    async with auth.bus.transaction() as tx:
        factors = SecondFactors(tx, auth.sealer)
        found = await PostgresUnitOfWork(tx).locked_user(caller.user_id)
        if found is not None and found.mfa_enabled and found.is_password_short:
            raise Problem(
                409, "password_too_short", "Without a second factor your password is too short: set a longer one."
            )
        refused = await service.show_code(factors, auth.notices(tx), caller.user_id, body.code)
        if refused is None:
            await factors.remove(caller.user_id)
            await auth.notices(tx).add(caller.user_id, Event.FACTOR_REMOVED)
            user = str(caller.user_id)
            await AuditLog(tx.connection, tx.now).note("second_factor.removed", user, actor=user)
    if refused is not None:
        raise code_problem(refused)
    return Response(status_code=204)


@router.post("/recovery-codes", status_code=201, response_model=RecoveryCodes)
async def renew_recovery_codes(caller: SessionCaller, auth: AuthParts) -> Response:
    """Ten new recovery codes, in the place of those there were. Takes a second factor shown within five minutes (403
    `mfa_required`)."""
    async with auth.bus.transaction() as tx:
        caller.require_fresh_factor(tx.now)
        codes = await service.renew_recovery_codes(SecondFactors(tx, auth.sealer), auth.notices(tx), caller.user_id)
    if isinstance(codes, CodeRefused):
        raise code_problem(codes)
    return not_stored({"recovery_codes": codes}, 201)


@router.get("/recovery-codes", response_model=RecoveryCodesLeft)
async def count_recovery_codes(caller: SessionCaller, auth: AuthParts) -> Response:
    """How many recovery codes are left."""
    async with auth.bus.transaction() as tx:
        left = await SecondFactors(tx, auth.sealer).recovery_codes_left(caller.user_id)
    return FastJSON({"left": left})


@router.post("/step-up", response_model=AccessTokenResource)
async def step_up(body: CodeBody, caller: SessionCaller, auth: AuthParts) -> Response:
    """An access token that says that the second factor was shown just now, for what asks for it (`mfa_required`)."""
    session = None
    async with auth.bus.transaction() as tx:
        factors = SecondFactors(tx, auth.sealer)
        refused = await service.show_code(factors, auth.notices(tx), caller.user_id, body.code)
        if refused is None:
            uow, session_id = PostgresUnitOfWork(tx), UUID(caller.session_id)
            await factors.note_shown(session_id)
            if await uow.prolong_living_session(session_id, tx.now + auth.lifetimes.access):
                session, user = await uow.locked_session(session_id), await uow.user(caller.user_id)
    if refused is not None:
        raise code_problem(refused)
    if session is None or user is None:
        raise Problem(401, "session_revoked", "The session is revoked; log in again.")
    return auth.access_token(user, session)


def code_problem(refused: CodeRefused) -> Problem:
    """429 for who has to wait, 409 where there is no factor, else 401."""
    if refused.retry_after_s is not None:
        return noted(Problem(429, refused.code, refused.detail, headers={"Retry-After": str(refused.retry_after_s)}))
    return noted(Problem(409 if refused.code == "mfa_not_enabled" else 401, refused.code, refused.detail))


def _already_enabled() -> Problem:
    return Problem(409, "mfa_enabled", "There is a second factor already; disable it first.")
