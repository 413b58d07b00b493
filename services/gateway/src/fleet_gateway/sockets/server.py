"""The socket's life: opened with a token, heard, written to, closed for a reason."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from fleet_chassis.clock import Clock
from fleet_chassis.logging import get_logger
from fleet_chassis.problems import Problem, unavailable
from starlette.types import Message, Receive, Scope, Send

from fleet_gateway.answers import Headers
from fleet_gateway.api_keys import check_address
from fleet_gateway.bodies import Room
from fleet_gateway.exchange import Exchange
from fleet_gateway.identity import AccessTokens, Principal, starting
from fleet_gateway.limits import Limits
from fleet_gateway.rates import Check, RateLimits
from fleet_gateway.settings import GatewaySettings
from fleet_gateway.tickets import Tickets

from . import requests
from .connection import SYMBOLS_A_MESSAGE, TOO_LONG, Connection
from .feeds import AccountFeed
from .hub import Hub
from .protocol import OUTLET
from .requests import ACCOUNT_CHANNELS, ALERTS, MARKET_DATA, SocketRequest
from .snapshots import Snapshots

SNAPSHOT_WEIGHT = 4

log = get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Sockets:
    """Plain ASGI for `/ws`. `always` are headers of every answer."""

    settings: GatewaySettings
    tokens: AccessTokens
    tickets: Tickets
    rates: RateLimits
    limits: Limits
    hub: Hub
    snapshots: Snapshots
    clock: Clock
    is_starting: Callable[[], bool]
    always: Headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        exchange = Exchange.of({**scope, "method": "GET"}, Room(0, 0))
        exchange.extra += self.always
        address = exchange.address(self.settings.gateway_trusted_proxies)
        try:
            principal = await self._admit(exchange, address)
        except Problem as problem:
            await _refuse(exchange, await self._counted(exchange, address, problem), send)
            return
        connection = Connection(
            principal,
            address,
            scope["extensions"][OUTLET],
            most_queued=self.settings.gateway_socket_queue,
            messages_per_s=self.settings.gateway_socket_messages,
        )
        # Nothing is waited for since they were counted.
        self.hub.add(connection)
        try:
            await send({"type": "websocket.accept", "headers": exchange.extra})
            await self._hear(connection, receive)
        finally:
            self.hub.remove(connection)

    async def _admit(self, exchange: Exchange, address: str) -> Principal:
        if exchange.path != "/ws":
            raise Problem(404, "not_found", "Nothing is found at this path.")
        if self.is_starting():
            raise starting()
        self._require_origin(exchange)
        principal = await self._principal(exchange, address)
        for check in self._checks(principal, 1):
            (verdict,) = await self.rates.check(check)
            exchange.limited(verdict)
        principal.require_scope("read")
        most = self.settings.gateway_sockets_per_user
        if self.hub.count_of(principal.key) >= most:
            raise _too_many(f"A user has {most} sockets at most.")
        most = self.settings.gateway_sockets_per_address
        if self.hub.count_from(address) >= most:
            raise _too_many(f"An address has {most} sockets at most.")
        if self.hub.count >= self.settings.gateway_sockets:
            raise unavailable("The gateway has as many sockets as it can serve.", retry_after_s=5)
        return principal

    async def _counted(self, exchange: Exchange, address: str, problem: Problem) -> Problem:
        """A refusal counts for the address, unless it was counted for its user or we are the cause; perhaps it is a 429."""
        if exchange.verdict is None and problem.status != 503:
            try:
                await self._count_for(address, exchange)
            except Problem as limited:
                return limited
        return problem

    async def _count_for(self, address: str, exchange: Exchange) -> None:
        """Raises Problem 429."""
        (verdict,) = await self.rates.check(Check(self.limits.requests, address))
        exchange.limited(verdict)

    def _require_origin(self, exchange: Exchange) -> None:
        """Pages of others may not open sockets with what their reader knows: browsers do not ask first, as with CORS."""
        if exchange.origin is None:
            return
        origin = exchange.origin.decode("latin-1")
        is_ours = origin.partition("://")[2] == dict(exchange.scope["headers"]).get(b"host", b"").decode("latin-1")
        if not is_ours and origin not in self.settings.gateway_cors_origins:
            raise Problem(403, "origin_not_allowed", "Pages of this origin may not open sockets.")

    async def _principal(self, exchange: Exchange, address: str) -> Principal:
        if exchange.authorization is None:
            tickets = parse_qs(exchange.scope["query_string"].decode("latin-1")).get("ticket")
            if tickets is not None:
                # Before auth is asked: of nobody it is not asked without bound.
                await self._count_for(address, exchange)
                principal = await self.tickets.redeem(tickets[0], exchange.request_id)
                check_address(principal, exchange, self.settings.gateway_trusted_proxies)
                return principal
        return await self.tokens.verify(exchange.authorization)

    async def _hear(self, connection: Connection, receive: Receive) -> None:
        """Ends when the client has gone, or the socket is closed."""
        beginning: set[asyncio.Task[None]] = set()
        try:
            while (message := await receive())["type"] != "websocket.disconnect":
                said = message.get("text") or message.get("bytes") or b""
                connection.hear()
                if len(said) > self.settings.gateway_socket_message_bytes:
                    connection.close(TOO_LONG)
                if connection.is_closing:
                    return
                work = self._obey(connection, said)
                if work is not None:
                    task = asyncio.create_task(work)
                    beginning.add(task)
                    task.add_done_callback(beginning.discard)
        finally:
            for task in beginning:
                task.cancel()

    def _obey(self, connection: Connection, said: str | bytes) -> Coroutine[Any, Any, None] | None:
        """Does what can be done at once; returns what has to be waited for."""
        time_in = self.clock.now()
        try:
            request = requests.parse(said)
        except Problem as malformed:
            connection.answer(requests.refused(None, malformed, time_in, self.clock.now()))
            return None
        if request.params is None:
            connection.answer(requests.pong(request))
            return None
        channel = request.params.channel
        if channel == MARKET_DATA:
            self._market_data(connection, request, request.params.symbols, time_in)
        elif channel == ALERTS:
            self._alerts(connection, request, time_in)
        elif channel not in ACCOUNT_CHANNELS:
            known = ", ".join((MARKET_DATA, ALERTS, *ACCOUNT_CHANNELS))
            detail = f"A channel must be one of {known}, was {channel!r}."
            problem = Problem(404, "not_found", detail)
            connection.answer(requests.refused(request, problem, time_in, self.clock.now()))
        elif request.method == "unsubscribe":
            self._end(connection, request, channel, time_in)
        else:
            return self._begin(connection, request, channel, time_in)
        return None

    def _market_data(
        self, connection: Connection, request: SocketRequest, symbols: list[str], time_in: datetime
    ) -> None:
        connection.hear(len(symbols) / SYMBOLS_A_MESSAGE)
        if connection.is_closing:
            return
        if not symbols:
            nothing = Problem(422, "invalid_request", "market_data needs symbols.")
            connection.answer(requests.refused(request, nothing, time_in, self.clock.now()))
        for asked in symbols:
            symbol = asked if "/" in asked else "/".join(asked.rsplit("-", 1))
            problem = self._symbol_problem(connection, request, symbol)
            if problem is not None:
                connection.answer(requests.refused(request, problem, time_in, self.clock.now(), symbol=asked))
                continue
            result = {"channel": MARKET_DATA, "symbol": symbol}
            connection.answer(requests.done(request, result, time_in, self.clock.now()))
            if request.method == "subscribe":
                self.hub.follow(connection, symbol)
            else:
                self.hub.unfollow(connection, symbol)

    def _alerts(self, connection: Connection, request: SocketRequest, time_in: datetime) -> None:
        alerts = self.hub.alerts
        problem = self._state_problem(connection, request, alerts.has(connection))
        if problem is not None:
            connection.answer(requests.refused(request, problem, time_in, self.clock.now()))
            return
        connection.answer(requests.done(request, {"channel": ALERTS}, time_in, self.clock.now()))
        if request.method == "subscribe":
            alerts.follow(connection)
        else:
            alerts.unfollow(connection)

    def _symbol_problem(self, connection: Connection, request: SocketRequest, symbol: str) -> Problem | None:
        if not self.hub.knows(symbol):
            return Problem(422, "unknown_symbol", f"The symbol is not known, was {symbol!r}.")
        return self._state_problem(connection, request, symbol in connection.symbols)

    def _state_problem(self, connection: Connection, request: SocketRequest, is_subscribed: bool) -> Problem | None:
        if request.method == "unsubscribe":
            return None if is_subscribed else Problem(409, "not_subscribed", "The channel is not subscribed.")
        if is_subscribed:
            return Problem(409, "already_subscribed", "The channel is subscribed already.")
        most = self.settings.gateway_socket_subscriptions
        if len(connection.symbols) + len(connection.feeds) + self.hub.alerts.has(connection) >= most:
            detail = f"A socket has {most} channels and symbols at most."
            return Problem(429, "too_many_subscriptions", detail)
        return None

    def _end(self, connection: Connection, request: SocketRequest, channel: str, time_in: datetime) -> None:
        problem = self._state_problem(connection, request, channel in connection.feeds)
        if problem is None:
            del connection.feeds[channel]
            text = requests.done(request, {"channel": channel}, time_in, self.clock.now())
        else:
            text = requests.refused(request, problem, time_in, self.clock.now())
        connection.answer(text)

    def _begin(
        self, connection: Connection, request: SocketRequest, channel: str, time_in: datetime
    ) -> Coroutine[Any, Any, None] | None:
        """Subscribes at once, so that what is said next finds it so; returns the reading of the snapshot."""
        problem = self._state_problem(connection, request, channel in connection.feeds)
        if problem is not None:
            connection.answer(requests.refused(request, problem, time_in, self.clock.now()))
            return None
        feed = AccountFeed(channel, partial(connection.emit, channel), self.settings.gateway_socket_queue)
        connection.feeds[channel] = feed
        return self._read(connection, request, feed, time_in)

    async def _read(self, connection: Connection, request: SocketRequest, feed: AccountFeed, time_in: datetime) -> None:
        """Updates are collected from before the snapshot is asked for, so that none is missed."""
        channel, problem = feed.channel, None
        try:
            await self._count(connection.principal)
            snapshot = await self.snapshots.read(channel, connection.principal)
        except Problem as refusal:
            problem = refusal
        except Exception:
            log.exception("snapshot_failed", channel=channel)
            problem = Problem(500, "internal_error", "The snapshot could not be made.")
        if connection.feeds.get(channel) is not feed:
            problem = Problem(409, "not_subscribed", "The channel was unsubscribed before its snapshot was read.")
        elif problem is None:
            connection.answer(requests.done(request, {"channel": channel}, time_in, self.clock.now()))
            feed.begin(snapshot)
            return
        else:
            del connection.feeds[channel]
        connection.answer(requests.refused(request, problem, time_in, self.clock.now()))

    async def _count(self, principal: Principal) -> None:
        """Snapshots count as what they ask of trading. Raises Problem 429."""
        for check in self._checks(principal, SNAPSHOT_WEIGHT):
            (verdict,) = await self.rates.check(check)
            if not verdict.allowed:
                raise Problem(429, "rate_limited", "Too many subscriptions at once.")

    def _checks(self, principal: Principal, weight: float) -> Iterator[Check]:
        """A key's own limit first: what it is refused takes nothing of its user's."""
        if principal.api_key_id is not None:
            yield Check(self.limits.api_key, principal.api_key_id, weight)
        yield Check(self.limits.requests, principal.key, weight)


async def _refuse(exchange: Exchange, problem: Problem, send: Send) -> None:
    """The handshake's answer is a problem like any other."""

    async def send_as_handshake(message: Message) -> None:
        await send({**message, "type": "websocket." + message["type"]})

    await exchange.send(exchange.problem(problem), send_as_handshake)


def _too_many(detail: str) -> Problem:
    return Problem(429, "too_many_sockets", detail, headers={"Retry-After": "5"})
