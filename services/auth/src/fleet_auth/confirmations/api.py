"""Addresses confirmed, passwords changed and set anew."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from fleet_chassis.permissions import SessionCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Body
from pydantic import Field

from fleet_auth.domain import WrongCredentials, hash_token
from fleet_auth.guessing.store import Attempts
from fleet_auth.notices.domain import Event
from fleet_auth.parts import (
    OPEN_DOOR,
    Auth,
    AuthParts,
    Email,
    FromClient,
    Password,
    UserResource,
    user_resource,
)
from fleet_auth.passwords import normalised
from fleet_auth.refusals import refusals
from fleet_auth.store import PostgresUnitOfWork

from . import service
from .domain import ConfirmationUnknown, NewPassword, Purpose
from .store import Confirmations

router = APIRouter(prefix="/api/v1/auth", tags=["auth"])

Token = Annotated[str, Field(min_length=1, max_length=200)]


class VerifyBody(Body):
    """`password`: that of the registration."""

    token: Token
    password: Password


class ForgotBody(Body):
    email: Email


class ResetBody(Body):
    token: Token
    new_password: Password


class PasswordBody(Body):
    current_password: Password
    new_password: Password


@router.post("/email/verify", status_code=201, dependencies=OPEN_DOOR)
async def verify_email(body: VerifyBody, auth: AuthParts, client: FromClient) -> UserResource:
    """The user, whose address is confirmed with the token that was sent to it, by who registered it: his password is asked
    for. 404 `token_unknown`, 401 `invalid_credentials`."""
    with refusals():
        async with auth.bus.transaction() as tx:
            asked = await Confirmations(tx).waiting(hash_token(body.token), Purpose.REGISTRATION)
        if asked is None:
            raise ConfirmationUnknown
        if not await auth.passwords.is_correct(body.password, asked.password_hash):
            raise WrongCredentials
        async with auth.bus.transaction() as tx:
            user = await service.confirm_registration(
                PostgresUnitOfWork(tx), Confirmations(tx), body.token, ids=auth.ids
            )
            await auth.defence.know(Attempts(tx), user.email, client)
    return user_resource(user)


@router.post("/password/forgot", status_code=202, response_class=Response, dependencies=OPEN_DOOR)
async def forgot_password(body: ForgotBody, auth: AuthParts) -> Response:
    """Sends a token to the address, if a user has it; the answer is the same if none has."""
    if auth.settings.auth_mail is None:
        raise Problem(422, "unsupported", "This installation sends no mail: ask an operator.")
    async with auth.bus.transaction() as tx:
        await service.ask(
            PostgresUnitOfWork(tx),
            Confirmations(tx),
            Attempts(tx),
            Purpose.PASSWORD_RESET,
            body.email,
            ids=auth.ids,
        )
    return Response(status_code=202)


@router.post("/password/reset", status_code=204, dependencies=OPEN_DOOR)
async def reset_password(body: ResetBody, auth: AuthParts, client: FromClient) -> Response:
    """Sets the password anew with the token that was sent, and ends all sessions. 404 `token_unknown`."""
    with refusals():
        async with auth.bus.transaction() as tx:
            asked = await Confirmations(tx).waiting(hash_token(body.token), Purpose.PASSWORD_RESET)
            found = None if asked is None else await PostgresUnitOfWork(tx).credentials(asked.email)
        if found is None:
            raise ConfirmationUnknown
        user = found[0]
        await auth.require_good_password(
            body.new_password, user.email, user.display_name, mfa_enabled=user.mfa_enabled, field="new_password"
        )
        new = await _hashed(auth, body.new_password)
        async with auth.bus.transaction() as tx:
            uow, attempts = PostgresUnitOfWork(tx), Attempts(tx)
            user = await service.reset_password(uow, Confirmations(tx), attempts, body.token, new)
            await auth.defence.know(attempts, user.email, client)
            await auth.notices(tx).add(user.user_id, Event.PASSWORD_SET_ANEW)
    return Response(status_code=204)


@router.post("/password", status_code=204)
async def change_password(body: PasswordBody, caller: SessionCaller, auth: AuthParts, client: FromClient) -> Response:
    """Another password. The present one is asked for, and wrong ones are counted as at a login; other sessions end."""
    with refusals():
        async with auth.bus.transaction() as tx:
            user = await PostgresUnitOfWork(tx).user(caller.user_id)
        if user is None:
            raise Problem(404, "not_found", "The user does not exist.")
        await auth.require_good_password(
            body.new_password, user.email, user.display_name, mfa_enabled=user.mfa_enabled, field="new_password"
        )
        auth.passwords.require_place()
        async with auth.bus.transaction() as tx:
            counted = await auth.defence.begin(Attempts(tx), user.email, client)
            found = await PostgresUnitOfWork(tx).credentials(user.email)
        if found is None or not await auth.passwords.is_correct(body.current_password, found[1]):
            raise WrongCredentials
        new = await _hashed(auth, body.new_password)
        async with auth.bus.transaction() as tx:
            uow, attempts, kept = PostgresUnitOfWork(tx), Attempts(tx), UUID(caller.session_id)
            await service.change_password(uow, Confirmations(tx), attempts, found[0], new, keep=kept)
            await attempts.one_less(*counted)
            await auth.defence.know(attempts, user.email, client)
            await auth.notices(tx).add(user.user_id, Event.PASSWORD_CHANGED)
    return Response(status_code=204)


async def _hashed(auth: Auth, password: str) -> NewPassword:
    is_short = len(normalised(password)) < auth.settings.auth_password_min_length
    return NewPassword(password_hash=await auth.passwords.hash(password), is_short=is_short)
