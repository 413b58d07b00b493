"""Requests that are signed with an API key: verified here and nowhere else.

The signature is the hex HMAC-SHA256, under the key's secret, of timestamp, method, path with query and the hex SHA-256 of
the body, one after the other: all as they came, before anything is decoded. Each signature is taken once.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from uuid import UUID, uuid4

import msgspec
from fleet_bus import Received
from fleet_chassis.clock import Clock
from fleet_chassis.logging import get_logger
from fleet_chassis.problems import Problem, unavailable
from fleet_contracts import Message

from .answers import Answer
from .exchange import Exchange
from .identity import Principal, unauthenticated
from .rates import Check, Limit, RateLimits
from .upstream import SAFE_METHODS, Upstream

TOLERANCE_MS = 5_000
"""A client's clock may be wrong by this much, so that its signature is good for twice as long; it is remembered for three
times, since two gateways' clocks may differ too."""
ONCE = Limit.window("signatures", 1, 3 * TOLERANCE_MS / 1_000)
LONGEST_KEY = 100
"""Auth's have 23 characters."""
MOST_KNOWN = 20_000
"""Keys in use within a minute; about 1 kB each."""
TELL_EVERY_S = 1.0
MOST_TOLD = 500
"""Uses of keys in one call to auth: 60 kB."""

log = get_logger(__name__)


class KeyTold(msgspec.Struct, frozen=True):
    """What auth tells of a key."""

    api_key_id: UUID
    user_id: UUID
    roles: list[str]
    scopes: list[str]
    symbols: list[str] | None
    max_order_notional: str | None
    ip_allowlist: list[str] | None
    expires_at: float | None

    def principal(self, *, expires_at: float | None, told_at: float | None = None) -> Principal:
        """`expires_at` None: never."""
        key_id = str(self.api_key_id)
        claims: dict[str, object] = {
            "sub": str(self.user_id),
            "sid": key_id,
            "api_key_id": key_id,
            "roles": self.roles,
            "scopes": self.scopes,
        }
        if self.symbols is not None:
            claims["symbols"] = self.symbols
        if self.max_order_notional is not None:
            claims["max_order_notional"] = self.max_order_notional
        return Principal(
            user_id=self.user_id,
            session_id=key_id,
            scopes=frozenset(self.scopes),
            expires_at=float("inf") if expires_at is None else expires_at,
            claims=claims,
            key=str(self.user_id),
            api_key_id=key_id,
            networks=None if self.ip_allowlist is None else tuple(ip_network(one) for one in self.ip_allowlist),
            told_at=told_at,
        )


class _Told(KeyTold, frozen=True):
    known_for_s: float
    secret: str


class _Use(msgspec.Struct, frozen=True):
    """What auth is told of a key."""

    api_key_id: str
    used_at: datetime
    address: str


@dataclass(slots=True)
class _Key:
    """`is_use_noted`: whether a use was since auth was asked for it, a minute ago at the most."""

    secret: bytes
    principal: Principal
    is_use_noted: bool = False


@dataclass(slots=True)
class ApiKeys:
    """Keeps what auth tells of a key for a minute, and forgets it when auth says that it has changed. `limit` is that of one
    key: a program that runs wild leaves its user's others something.

    Without Redis, and for some seconds after it was started anew, nobody knows which signatures were seen: what only reads
    goes on, nothing is changed."""

    upstream: Upstream
    rates: RateLimits
    limit: Limit
    clock: Clock
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    _uses: dict[str, _Use] = field(default_factory=dict)
    _known: dict[str, tuple[float, _Key]] = field(default_factory=dict)
    _asking: dict[str, asyncio.Task[_Key]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    _changes: int = 0

    def on_change(self, key_id: str, _received: Received[Message] | None) -> None:
        """auth.sessions says it of a key as of a session, by its id."""
        self._changes += 1
        name = self._names.pop(key_id, None)
        if name is not None:
            self._known.pop(name, None)

    async def verify(
        self,
        exchange: Exchange,
        *,
        count_stranger: Callable[[], Awaitable[None]],
        body: Callable[[], Awaitable[bytes]],
    ) -> Principal:
        """Who has signed the request. `count_stranger` is awaited before auth is asked for a key, `body` once all but the
        signature is right. Raises Problem 401, 403, 429 and 503."""
        signed = exchange.signed
        name = signed.get(b"x-api-key", b"").decode("latin-1")
        timestamp, signature = signed.get(b"x-timestamp", b""), signed.get(b"x-signature", b"")
        if not (name and timestamp and signature):
            detail = "A signed request has the headers X-API-Key, X-Timestamp and X-Signature."
            raise unauthenticated("invalid_signature", detail)
        await self._judge(name, timestamp, exchange.request_id, count_stranger)
        digest = hashlib.sha256(await body()).hexdigest().encode()
        # Again, however long the body took: by now the signature may be forgotten, and the key revoked.
        key, said_ago_s = await self._judge(name, timestamp, exchange.request_id, count_stranger)
        said = timestamp + exchange.method.encode() + exchange.sent_target + digest
        expected = hmac.digest(key.secret, said, "sha256").hex().encode()
        if not hmac.compare_digest(expected, signature):
            raise unauthenticated("invalid_signature", "The signature is not that of this request.")
        check_address(key.principal, exchange, self.trusted_proxies)
        await self._check_once(exchange, key.principal.session_id, signature, said_ago_s=said_ago_s)
        self._note_use(key, exchange)
        return key.principal

    async def _judge(
        self, name: str, timestamp: bytes, request_id: str, count_stranger: Callable[[], Awaitable[None]]
    ) -> tuple[_Key, float]:
        """The key, and how many seconds ago its request was signed. Raises Problem 401, 429 and 503."""
        key = await self._key(name, request_id, count_stranger)
        now_ms = self.clock.now().timestamp() * 1_000
        if not (timestamp.isdigit() and len(timestamp) < 19 and abs(now_ms - int(timestamp)) <= TOLERANCE_MS):
            raise unauthenticated("timestamp_out_of_range", "X-Timestamp must be now, in ms, give or take 5 s.")
        if key.principal.expires_at * 1_000 <= now_ms:
            raise _unknown()
        return key, (now_ms - int(timestamp)) / 1_000

    async def run(self, every_s: float = TELL_EVERY_S) -> None:
        """Tells auth which keys were used: apart from the requests, which do not wait for it."""
        while True:
            await asyncio.sleep(every_s)
            while self._uses:
                told = [self._uses.pop(key_id) for key_id in [*self._uses][:MOST_TOLD]]
                try:
                    await self._tell(told)
                except Problem as problem:
                    log.warning("uses_of_api_keys_not_told", error=problem.detail)
                    self._uses = {use.api_key_id: use for use in told} | self._uses
                    break

    async def _tell(self, uses: list[_Use]) -> None:
        answer = await self._ask_auth("used", {"uses": uses}, str(uuid4()))
        if answer.status != 204:
            raise unavailable(f"The service auth takes no uses of API keys, was {answer.status}.")

    def _note_use(self, key: _Key, exchange: Exchange) -> None:
        """Once for each time that auth was asked for the key."""
        if key.is_use_noted or len(self._uses) >= MOST_KNOWN:
            return
        key.is_use_noted, key_id = True, key.principal.session_id
        self._uses[key_id] = _Use(key_id, self.clock.now(), exchange.address(self.trusted_proxies))

    async def _key(self, name: str, request_id: str, count_stranger: Callable[[], Awaitable[None]]) -> _Key:
        known = self._known.get(name)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        asking = self._asking.get(name)
        if asking is None:
            await count_stranger()
            if len(name) > LONGEST_KEY:
                raise _unknown()
        # Others may have begun to ask meanwhile; of one key auth is asked once at a time.
        asking = self._asking.get(name)
        if asking is None:
            asking = self._asking[name] = asyncio.create_task(self._ask(name, request_id))
            asking.add_done_callback(lambda _: self._asking.pop(name, None))
        return await asyncio.shield(asking)

    async def _ask(self, name: str, request_id: str) -> _Key:
        changes = self._changes
        answer = await self._ask_auth("lookup", {"key": name}, request_id)
        if answer.status == 404:
            raise _unknown()
        if answer.status != 200:
            raise unavailable("The service auth cannot judge the API key.")
        told = msgspec.json.decode(answer.body, type=_Told)
        key = _Key(told.secret.encode(), told.principal(expires_at=told.expires_at))
        # What has changed while auth was asked may be older than its answer, or newer: it is not kept.
        if changes == self._changes:
            if len(self._known) >= MOST_KNOWN:
                _, oldest = self._known.pop(next(iter(self._known)))
                self._names.pop(oldest.principal.session_id, None)
            self._known[name] = (time.monotonic() + told.known_for_s, key)
            self._names[key.principal.session_id] = name
        return key

    async def _check_once(self, exchange: Exchange, key_id: str, signature: bytes, *, said_ago_s: float) -> None:
        once, of_key = await self.rates.check(Check(ONCE, f"{key_id}:{signature.decode()}"), Check(self.limit, key_id))
        if once.is_shared and not once.allowed:
            raise unauthenticated("signature_reused", "This signature was used before; sign each request anew.")
        # By a clock that is ahead it may have been said, and taken, before Redis began to remember.
        remembered_s = time.monotonic() - self.rates.remembers_since
        is_known = once.is_shared and said_ago_s + TOLERANCE_MS / 1_000 <= remembered_s
        if not is_known and exchange.method not in SAFE_METHODS:
            detail = "It cannot be known whether this signature was seen before; nothing was done."
            raise unavailable(detail, retry_after_s=TOLERANCE_MS // 1_000)
        exchange.limited(of_key)

    async def _ask_auth(self, what: str, content: object, request_id: str) -> Answer:
        return await self.upstream.send(
            "auth",
            "POST",
            f"/internal/api-keys/{what}",
            claims=None,
            request_id=request_id,
            headers={"Content-Type": "application/json"},
            body=msgspec.json.encode(content),
        )


def check_address(
    principal: Principal, exchange: Exchange, trusted_proxies: Sequence[IPv4Network | IPv6Network]
) -> None:
    """Raises Problem 403 where an API key may not be used."""
    if principal.networks is None:
        return
    try:
        address = ip_address(exchange.client_address(trusted_proxies).partition("%")[0])
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
    except ValueError:
        address = None
    if address is None or not any(address in network for network in principal.networks):
        raise Problem(403, "address_not_allowed", "The API key may not be used from this address.")


def _unknown() -> Problem:
    return unauthenticated("api_key_unknown", "The API key is not known, revoked or expired.")
