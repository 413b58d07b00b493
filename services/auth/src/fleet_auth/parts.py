"""What the routes work with, who may call those of a login, and how a user is shown."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Header
from fleet_bus import Bus, Transaction
from fleet_chassis.ids import Ids
from fleet_chassis.permissions import service_caller
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.requests import current_client_address
from fleet_chassis.shapes import FastJSON, Resource
from fleet_contracts.vocabulary import Role
from pydantic import AfterValidator, Field
from starlette.requests import HTTPConnection

from .domain import Client, Session, User, UserStatus, normalise_email, scopes_of
from .guessing.service import Defence
from .notices.service import Notices
from .passwords import MAX_PASSWORD_LENGTH, MIN_LENGTH_WITH_MFA, PasswordRefused, Passwords
from .sealing import Sealer
from .settings import AuthSettings
from .signing import KeyRing
from .tokens import TokenLifetimes, sign_access_token


class AccessTokenResource(Resource):
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int = Field(description="Seconds until the access token ends.")


class TokensResource(AccessTokenResource):
    refresh_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """What the routes work with."""

    bus: Bus
    passwords: Passwords
    defence: Defence
    sealer: Sealer
    settings: AuthSettings
    ids: Ids
    keys: KeyRing

    @property
    def lifetimes(self) -> TokenLifetimes:
        return TokenLifetimes(
            timedelta(seconds=self.settings.auth_access_token_s),
            timedelta(seconds=self.settings.auth_refresh_token_s),
            timedelta(seconds=self.settings.auth_session_s),
        )

    def notices(self, tx: Transaction) -> Notices:
        """What the owner of an account is told by mail."""
        return Notices(tx, are_sent=self.settings.auth_mail is not None)

    async def require_good_password(
        self, password: str, email: str, name: str | None, *, mfa_enabled: bool = False, field: str = "password"
    ) -> None:
        """Raises Problem 422 unless it may be the password of the user with this address and name, and TooBusy."""
        shortest = MIN_LENGTH_WITH_MFA if mfa_enabled else self.settings.auth_password_min_length
        try:
            await self.passwords.check(password, shortest=shortest, email=email, name=name)
        except PasswordRefused as refused:
            error = FieldError(field, str(refused), refused.code)
            raise Problem(422, "invalid_request", f"The password {refused}.", errors=[error]) from None

    def tokens(self, user: User, session: Session, refresh_token: str) -> FastJSON:
        return not_stored({**self._access_token(user, session), "refresh_token": refresh_token})

    def access_token(self, user: User, session: Session) -> FastJSON:
        """Without a refresh token: the session's own stays."""
        return not_stored(self._access_token(user, session))

    def _access_token(self, user: User, session: Session) -> dict[str, object]:
        issued_at = session.last_token_expires_at - self.lifetimes.access
        return AccessTokenResource(
            access_token=sign_access_token(self.keys.current, user, session, issued_at),
            token_type="Bearer",  # noqa: S106
            expires_in=self.settings.auth_access_token_s,
        ).model_dump()


def not_stored(content: object, status: int = 200) -> FastJSON:
    """An answer with a secret in it: no cache keeps it."""
    return FastJSON(content, status, headers={"Cache-Control": "no-store"})


async def _auth(connection: HTTPConnection) -> Auth:
    auth: Auth = connection.app.state.auth
    return auth


AuthParts = Annotated[Auth, Depends(_auth)]


async def from_client(
    auth: AuthParts, user_agent: Annotated[str | None, Header(include_in_schema=False)] = None
) -> Client:
    """Where a request comes from, as the gateway says. Raises Problem 403 if nothing is taken from there."""
    client = Client(current_client_address(), None if user_agent is None else user_agent[:MOST_OF_USER_AGENT])
    if auth.defence.is_denied(client):
        raise Problem(403, "address_denied", "Nothing is taken from your address: ask an operator.")
    return client


MOST_OF_USER_AGENT = 200
FromClient = Annotated[Client, Depends(from_client)]


Gateway = Depends(service_caller("gateway"))
"""Before a login nobody is behind the call, but it still comes through the gateway, which limits it."""

OPEN_DOOR = [Gateway, Depends(from_client)]
"""What strangers come in by, if their address is not denied."""

Email = Annotated[str, Field(max_length=254, examples=["ada@example.com"]), AfterValidator(normalise_email)]
Password = Annotated[str, Field(min_length=1, max_length=MAX_PASSWORD_LENGTH, examples=["correct horse battery"])]


class UserResource(Resource):
    user_id: UUID
    email: str
    display_name: str | None
    roles: list[Role]
    scopes: list[str]
    status: UserStatus
    mfa_enabled: bool
    created_at: datetime


def user_resource(user: User) -> UserResource:
    """A user as the API shows him."""
    return UserResource(
        user_id=user.user_id,
        email=user.email,
        display_name=user.display_name,
        roles=list(user.roles),
        scopes=scopes_of(user.roles),
        status=user.status,
        mfa_enabled=user.mfa_enabled,
        created_at=user.created_at,
    )
