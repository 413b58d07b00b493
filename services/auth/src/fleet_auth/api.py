"""auth's routes."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Header, Response
from fleet_chassis.permissions import SessionCaller, UserCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Body, FastJSON, Resource
from pydantic import Field

from . import service
from .api_keys.api import told_to_gateway
from .api_keys.store import ApiKeys
from .confirmations import service as confirmations
from .confirmations.domain import Purpose
from .confirmations.store import Confirmations
from .domain import Client, EmailTaken, RefreshRefusal, WrongCredentials, hash_token
from .guessing.store import Attempts
from .mfa import service as mfa
from .mfa.api import CodeBody, code_problem
from .mfa.domain import CodeRefused
from .mfa.store import SecondFactors
from .parts import (
    OPEN_DOOR,
    Auth,
    AuthParts,
    Email,
    FromClient,
    Gateway,
    Password,
    TokensResource,
    UserResource,
    not_stored,
    user_resource,
)
from .refusals import noted, refusals
from .service import IdempotencyKey, NewUser
from .store import PostgresUnitOfWork
from .tokens import new_secret

REFUSALS = {
    RefreshRefusal.UNKNOWN: "The refresh token is not known.",
    RefreshRefusal.EXPIRED: "The refresh token is expired; log in again.",
    RefreshRefusal.REUSED: "The refresh token was used before, so its session is revoked; log in again.",
    RefreshRefusal.SESSION_REVOKED: "The session is revoked; log in again.",
    RefreshRefusal.USER_DISABLED: "The user is disabled.",
}


class RegisterBody(Body):
    email: Email
    password: Password
    display_name: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class LoginBody(Body):
    email: Email
    password: Password


class RefreshBody(Body):
    refresh_token: Annotated[str, Field(min_length=1, max_length=200)]


class RegistrationAsked(Resource):
    email: str
    verification: Literal["sent"]


class MfaRequired(Resource):
    """The password was right; `POST /auth/login/mfa` takes the code."""

    mfa_required: Literal[True]
    mfa_token: str


class MfaLoginBody(CodeBody):
    mfa_token: Annotated[str, Field(min_length=1, max_length=200)]


class TicketResource(Resource):
    ticket: str
    expires_in: int = Field(description="Seconds until the ticket ends.")


class RedeemBody(Body):
    ticket: Annotated[str, Field(min_length=1, max_length=200)]


class KeySet(Resource):
    keys: list[dict[str, str]]


router = APIRouter(prefix="/api/v1/auth", tags=["auth"])
internal = APIRouter(prefix="/internal", include_in_schema=False, dependencies=[Gateway])


@router.post(
    "/register",
    status_code=201,
    response_model=UserResource,
    responses={202: {"model": RegistrationAsked, "description": "Confirmed with the token in the mail."}},
    dependencies=OPEN_DOOR,
)
async def register(
    body: RegisterBody,
    auth: AuthParts,
    client: FromClient,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Response:
    """A new user, a trader. 409 `email_taken`.

    Where addresses are verified it is 202, whoever has the address, and the user is made by `POST /auth/email/verify`."""
    key = None
    if idempotency_key is not None:
        fingerprint = auth.sealer.fingerprint(msgspec.json.encode(body.model_dump(), order="sorted"))
        key = IdempotencyKey(idempotency_key, fingerprint, timedelta(seconds=auth.settings.auth_idempotency_s))
    with refusals():
        await auth.require_good_password(body.password, body.email, body.display_name)
        earlier = await _earlier(auth, key)
        if earlier is not None:
            return earlier
        password_hash = await auth.passwords.hash(body.password)
        try:
            answer = await _ask_or_register(body, auth, client, key, password_hash)
        except EmailTaken:
            # With a key it may be ourselves, at the same moment.
            earlier = await _earlier(auth, key)
            if earlier is None:
                raise
            return earlier
    return _registered(auth, answer)


async def _ask_or_register(
    body: RegisterBody, auth: Auth, client: Client, key: IdempotencyKey | None, password_hash: str
) -> Mapping[str, object]:
    """The answer, once the address is asked to confirm, or the user is made. Raises EmailTaken, IdempotencyKeyReused."""
    async with auth.bus.transaction() as tx:
        uow = PostgresUnitOfWork(tx)
        if auth.settings.auth_email_verification:
            await confirmations.ask(
                uow,
                Confirmations(tx),
                Attempts(tx),
                Purpose.REGISTRATION,
                body.email,
                ids=auth.ids,
                password_hash=password_hash,
                display_name=body.display_name,
            )
            answer = RegistrationAsked(email=body.email, verification="sent").model_dump()
        else:
            command = NewUser(email=body.email, password_hash=password_hash, display_name=body.display_name)
            user = await service.register(uow, command, ids=auth.ids)
            await auth.defence.know(Attempts(tx), user.email, client)
            answer = user_resource(user).model_dump(mode="json")
        if key is not None:
            await service.keep_answer(uow, service.REGISTER, key, answer)
    return answer


@router.post("/login", response_model=TokensResource | MfaRequired, dependencies=OPEN_DOOR)
async def login(body: LoginBody, auth: AuthParts, client: FromClient) -> Response:
    """Tokens for a user's password, or an `mfa_token` if there is a second factor to show. 401 `invalid_credentials`; 429
    `too_many_failed_logins` after too many failed attempts at one account or from one address."""
    with refusals():
        auth.passwords.require_place()
        async with auth.bus.transaction() as tx:
            counted = await auth.defence.begin(Attempts(tx), body.email, client)
            found = await PostgresUnitOfWork(tx).credentials(body.email)
        password_hash = None if found is None else found[1]
        if not await auth.passwords.is_correct(body.password, password_hash) or found is None or password_hash is None:
            raise WrongCredentials
        is_outdated = auth.passwords.needs_rehash(password_hash)
        new_hash = await auth.passwords.hash(body.password) if is_outdated else None
        secret = new_secret()
        async with auth.bus.transaction() as tx:
            uow = PostgresUnitOfWork(tx)
            user = await service.admit(uow, found[0], new_hash=new_hash)
            await Attempts(tx).one_less(*counted)
            if user.mfa_enabled:
                await mfa.challenge(SecondFactors(tx, auth.sealer), user.user_id, secret)
                return not_stored({"mfa_required": True, "mfa_token": secret})
            await auth.defence.know(Attempts(tx), user.email, client)
            session = await service.begin_session(
                uow, user, refresh_token=secret, lifetimes=auth.lifetimes, ids=auth.ids, client=client
            )
    return auth.tokens(user, session, secret)


@router.post("/login/mfa", response_model=TokensResource, dependencies=OPEN_DOOR)
async def login_with_second_factor(body: MfaLoginBody, auth: AuthParts, client: FromClient) -> Response:
    """The second step of a login. 401 `invalid_code`, `mfa_token_unknown`; 429 `too_many_codes`, and
    `too_many_failed_logins` where too many from one address were wrong."""
    refresh_token = new_secret()
    with refusals():
        async with auth.bus.transaction() as tx:
            counted = await auth.defence.begin_code(Attempts(tx), client)
        async with auth.bus.transaction() as tx:
            uow = PostgresUnitOfWork(tx)
            factors, notices = SecondFactors(tx, auth.sealer), auth.notices(tx)
            answer = await mfa.answer_challenge(uow, factors, notices, body.mfa_token, body.code)
            if not isinstance(answer, CodeRefused):
                await Attempts(tx).one_less(*counted)
                await auth.defence.know(Attempts(tx), answer.email, client)
                session = await service.begin_session(
                    uow,
                    answer,
                    refresh_token=refresh_token,
                    lifetimes=auth.lifetimes,
                    ids=auth.ids,
                    client=client,
                    mfa_at=tx.now,
                )
    if isinstance(answer, CodeRefused):
        raise code_problem(answer)
    return auth.tokens(answer, session, refresh_token)


@router.post("/refresh", response_model=TokensResource, dependencies=OPEN_DOOR)
async def refresh(body: RefreshBody, auth: AuthParts) -> Response:
    """New tokens for a refresh token, which is used up. Shown a second time it revokes its session."""
    replacement = new_secret()
    async with auth.bus.transaction() as tx:
        done = await service.refresh(
            PostgresUnitOfWork(tx), body.refresh_token, replacement=replacement, lifetimes=auth.lifetimes
        )
    if isinstance(done, RefreshRefusal):
        raise noted(Problem(401, done, REFUSALS[done]))
    return auth.tokens(*done, replacement)


@router.post("/logout", status_code=204)
async def logout(caller: SessionCaller, auth: AuthParts) -> Response:
    """Ends the session of the token that this was asked with."""
    async with auth.bus.transaction() as tx:
        await service.log_out(PostgresUnitOfWork(tx), UUID(caller.session_id))
    return Response(status_code=204)


@router.get("/me", response_model=UserResource)
async def me(caller: UserCaller, auth: AuthParts) -> Response:
    """Who one is, and what one may do as one asks: a key may do less than its user."""
    async with auth.bus.transaction() as tx:
        user = await PostgresUnitOfWork(tx).user(caller.user_id)
    if user is None:
        raise Problem(404, "not_found", "The user does not exist.")
    shown = user_resource(user)
    scopes = [scope for scope in shown.scopes if scope in caller.scopes]
    return FastJSON(shown.model_copy(update={"scopes": scopes}).model_dump(mode="json"))


@router.get("/.well-known/jwks.json", response_model=KeySet, dependencies=[Gateway])
async def jwks(auth: AuthParts) -> Response:
    """The public keys that access tokens are signed with (RFC 7517)."""
    return FastJSON({"keys": auth.keys.current.jwks}, headers={"Cache-Control": "public, max-age=300"})


@router.post("/ws-tickets", status_code=201, response_model=TicketResource)
async def give_ticket(caller: UserCaller, auth: AuthParts) -> Response:
    """A ticket that opens one socket, `/ws?ticket=…`, for API keys and for clients that cannot send headers with it."""
    ticket = new_secret()
    key_id = caller.claims.get("api_key_id")
    async with auth.bus.transaction() as tx:
        if key_id is None:
            session_id = UUID(caller.session_id)
            await service.give_ticket(PostgresUnitOfWork(tx), ticket, session_id=session_id, scopes=caller.scopes)
        else:
            ends_at = tx.now + service.TICKET_LIFETIME
            await ApiKeys(tx, auth.sealer).add_ticket(hash_token(ticket), UUID(str(key_id)), ends_at)
    told = TicketResource(ticket=ticket, expires_in=int(service.TICKET_LIFETIME.total_seconds()))
    return FastJSON(told.model_dump(), 201, headers={"Cache-Control": "no-store"})


@internal.post("/ws-tickets/redeem")
async def redeem_ticket(body: RedeemBody, auth: AuthParts) -> Response:
    """Who shows the ticket, and until when the socket may live: as long as an access token given now. Of an API key what it
    may do, and when this was told: what auth tells of the key from then on ends the socket."""
    async with auth.bus.transaction() as tx:
        uow = PostgresUnitOfWork(tx)
        ticket = await service.redeem_ticket(uow, body.ticket, lifetimes=auth.lifetimes)
        key = None if ticket is not None else await ApiKeys(tx, auth.sealer).take_ticket(hash_token(body.ticket))
        user = None if key is None else await uow.user(key.user_id)
        now = tx.now
    if key is not None and user is not None and key.is_good(user, now):
        return FastJSON(
            {
                "api_key": told_to_gateway(key, user),
                "exp": key.socket_ends_at(now).timestamp(),
                "told_at": now.timestamp(),
            }
        )
    if ticket is None:
        raise Problem(404, "ticket_unknown", "The ticket is not known, used or expired.")
    return FastJSON(
        {
            "sub": ticket.user.user_id,
            "sid": ticket.session.session_id,
            "roles": ticket.user.roles,
            "scopes": ticket.scopes,
            "exp": int((now + auth.lifetimes.access).timestamp()),
        }
    )


async def _earlier(auth: Auth, key: IdempotencyKey | None) -> Response | None:
    if key is None:
        return None
    async with auth.bus.transaction() as tx:
        answer = await service.earlier_answer(PostgresUnitOfWork(tx), service.REGISTER, key)
    if answer is None:
        return None
    return _registered(auth, answer, {"Idempotent-Replayed": "true"})


def _registered(auth: Auth, answer: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Response:
    if auth.settings.auth_email_verification:
        return FastJSON(answer, 202, headers=headers)
    return FastJSON(answer, 201, headers={"Location": "/api/v1/auth/me"} | dict(headers or {}))
