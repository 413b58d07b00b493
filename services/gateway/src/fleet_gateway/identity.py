"""Who sends a request: access tokens, verified here and nowhere else."""

import asyncio
import base64
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal
from uuid import UUID, uuid5

import jwt
import msgspec
from fleet_bus import TableView
from fleet_chassis.clock import Clock
from fleet_chassis.logging import get_logger
from fleet_chassis.problems import Problem, unavailable
from fleet_contracts.auth import SessionRevoked

ISSUER = "auth"
AUDIENCE = "tradefleet"
LEEWAY_S = 3
"""The clocks of auth's machine and ours may differ by this much; a socket is closed within 5 s of its token's end."""
TOLD_TOLERANCE_S = 10.0
"""Two replicas of auth differ by less, and a transaction that revokes a key takes less from its beginning to its end."""
MAX_TOKEN_BYTES = 4_096
MAX_CACHED = 20_000
"""Tokens active within their five minutes; about 2 kB each."""
RETRY_AFTER_S = 1.0
LOOK_EVERY_S = 30.0
"""A key may have been replaced because somebody else has it: what auth tells no more verifies nothing after so long."""
REFETCH_AFTER_S = 1.0
"""Tokens with invented key ids must not make us ask auth for its keys all the time; they wait for the next asking."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Principal:
    """The user and session behind a token. `claims` are what is asserted to services; `key` names the user's limits."""

    user_id: UUID
    session_id: str
    scopes: frozenset[str]
    expires_at: float
    claims: Mapping[str, object]
    key: str
    signed_with: str | None = None
    """The id of auth's key, where a token was signed with one."""
    api_key_id: str | None = None
    """Of the key that signed the request or opened the socket, which has a limit of its own."""
    networks: tuple[IPv4Network | IPv6Network, ...] | None = None
    """From where the key may be used; None: from anywhere."""
    told_at: float | None = None
    """When auth has told of a key what the socket lives by. Of a key, unlike a session, auth may tell several times that
    it has changed."""

    def require_scope(self, scope: str | None) -> None:
        if scope is not None and scope not in self.scopes:
            raise Problem(403, "insufficient_scope", f"This needs the scope {scope}.")

    def id_under(self, idempotency_key: str | None, new_id: Callable[[], UUID]) -> UUID:
        """The id of what is made: who sends the same again under an `Idempotency-Key` means the same thing."""
        return uuid5(self.user_id, idempotency_key) if idempotency_key else new_id()


class Claims(msgspec.Struct, frozen=True):
    """Of an access token, or of a ticket that stands for one."""

    sub: UUID
    sid: str
    roles: list[str]
    scopes: list[str]
    exp: int
    mfa_at: int | None = None

    def principal(self, signed_with: str | None = None) -> Principal:
        fresh = {} if self.mfa_at is None else {"mfa_at": self.mfa_at}
        return Principal(
            user_id=self.sub,
            session_id=self.sid,
            scopes=frozenset(self.scopes),
            expires_at=self.exp + LEEWAY_S,
            claims={"sub": str(self.sub), "sid": self.sid, "roles": self.roles, "scopes": self.scopes, **fresh},
            key=str(self.sub),
            signed_with=signed_with,
        )


_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    """What auth writes, and nothing else (RFC 8725, 3.1, 3.11): no `jku`, `jwk`, `x5u` or `crit` is ever looked at."""

    alg: Literal["EdDSA"]
    typ: Literal["at+jwt"]
    kid: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]


def _members(token: str, part: int) -> dict[str, Any]:
    """Header or claims of a token. Raises ValueError, also where a name comes twice and could mean two things."""
    segment = token.split(".")[part]
    text = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    members: dict[str, Any] = json.loads(text, object_pairs_hook=_once)
    return members


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name comes twice")
    return members


@dataclass(slots=True)
class KeySet:
    """auth's public keys, asked for when a token names one we do not know, and now and then."""

    fetch: Callable[[], Awaitable[Mapping[str, Any]]]
    _keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    _fetched_at: float = float("-inf")
    _failed_at: float = float("-inf")
    _fetching: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_known(self) -> bool:
        return bool(self._keys)

    def knows(self, kid: str) -> bool:
        return kid in self._keys

    async def run(self, every_s: float = LOOK_EVERY_S) -> None:
        """Forgets the keys that auth has forgotten. While it is away, those that were known stay."""
        while True:
            await asyncio.sleep(every_s)
            try:
                async with self._fetching:
                    await self.refresh()
            except Problem as problem:
                log.warning("access_token_keys_not_told", error=problem.detail)

    async def get(self, kid: str) -> jwt.PyJWK | None:
        """The key, None if auth does not have it. Raises Problem 503 when auth cannot be asked."""
        if kid not in self._keys:
            wanted_at = time.monotonic()
            async with self._fetching:
                # A token that is here was signed before: keys asked for from now on have its own, if auth does.
                if kid not in self._keys and self._fetched_at < wanted_at:
                    await asyncio.sleep(self._fetched_at + REFETCH_AFTER_S - time.monotonic())
                    await self.refresh()
        return self._keys.get(kid)

    async def refresh(self) -> None:
        """Asks auth. Raises Problem 503."""
        if time.monotonic() - self._failed_at < RETRY_AFTER_S:
            raise unavailable("The service auth did not tell its keys.")
        asked_at = time.monotonic()
        try:
            told = jwt.PyJWKSet.from_dict(dict(await self.fetch()))
        except (Problem, msgspec.DecodeError, jwt.PyJWTError) as error:
            self._failed_at = time.monotonic()
            if isinstance(error, Problem):
                raise
            raise unavailable("The keys that the service auth told are not understood.") from error
        self._keys = {key.key_id: key for key in told.keys if key.key_id}
        self._fetched_at = asked_at


class AccessTokens:
    """Verifies tokens; a verified one is remembered until it ends, and forgotten when its session is revoked."""

    def __init__(self, keys: KeySet, revoked: TableView[SessionRevoked], clock: Clock) -> None:
        self._keys = keys
        self._revoked = revoked
        self._clock = clock
        self._verified: dict[str, Principal] = {}

    async def verify(self, authorization: bytes | None) -> Principal:
        """The principal of an `Authorization: Bearer …` header. Raises Problem 401 or 503."""
        kind, _, token = (authorization or b"").decode("latin-1").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise unauthenticated("unauthenticated", "This needs an access token: Authorization: Bearer …")
        principal = self._verified.get(token)
        if principal is None:
            principal = await self._decode(token)
            if len(self._verified) >= MAX_CACHED:
                del self._verified[next(iter(self._verified))]
            self._verified[token] = principal
        end = self.end_of(principal)
        if end is not None:
            del self._verified[token]
            raise end
        return principal

    def require_living(self, principal: Principal) -> None:
        """Once a body is there, which may have taken its time. Raises Problem 401 where a token has ended meanwhile; what is
        signed with an API key was judged with its body."""
        end = None if principal.api_key_id is not None else self.end_of(principal)
        if end is not None:
            raise end

    def end_of(self, principal: Principal) -> Problem | None:
        """Why the principal's token counts no more; None while it does."""
        if principal.expires_at <= self._clock.now().timestamp():
            return unauthenticated("token_expired", "The access token is expired.")
        if principal.signed_with is not None and not self._keys.knows(principal.signed_with):
            return unauthenticated("invalid_token", "The access token is signed by nobody we know any more.")
        revoked = self._revoked.get(principal.session_id)
        if revoked is not None and (
            principal.told_at is None or revoked.revoked_at.timestamp() > principal.told_at - TOLD_TOLERANCE_S
        ):
            return unauthenticated("session_revoked", "The session is revoked; log in again.")
        return None

    async def _decode(self, token: str) -> Principal:
        if len(token) > MAX_TOKEN_BYTES or not _COMPACT.fullmatch(token):
            raise unauthenticated("invalid_token", "The access token is no compact JWT.")
        try:
            header = msgspec.convert(_members(token, 0), _Header)
            key = await self._keys.get(header.kid)
            if key is None:
                raise unauthenticated("invalid_token", "The access token is signed by nobody we know.")
            # When it ends is judged by the clock that was passed in.
            decoded = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={
                    "require": ["iss", "aud", "sub", "sid", "exp", "iat"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "strict_aud": True,
                },
            )
            _members(token, 1)
            claims = msgspec.convert(decoded, Claims)
        except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError, RecursionError) as error:
            raise unauthenticated("invalid_token", f"The access token is not valid: {type(error).__name__}.") from error
        return claims.principal(header.kid)


def unauthenticated(code: str, detail: str) -> Problem:
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Bearer"})


def starting() -> Problem:
    """Until it is known which sessions are revoked, no token can be believed."""
    return unavailable("The gateway is starting.")
