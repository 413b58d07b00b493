"""The gateway's front: every request is judged here, and forwarded or answered."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote_to_bytes
from uuid import UUID

from fleet_chassis.health import Health
from fleet_chassis.logging import get_logger
from fleet_chassis.problems import Problem
from starlette.types import Receive, Scope, Send

from . import cors, routes
from .answers import Answer, Headers
from .api_keys import ApiKeys
from .bodies import Body, ClientGone, Room
from .deployments import Deployments
from .exchange import Exchange
from .identity import AccessTokens, Principal, starting
from .limits import Limits
from .markets import LastMarkets, is_away
from .openapi import OpenApi
from .orders import NamedOrders, name_batch, name_order
from .pages import Pages, json_answer
from .rates import Check, RateLimits
from .routes import Route
from .settings import GatewaySettings
from .upstream import Upstream

OPENAPI = b"/api/v1/openapi.json"
_READING = frozenset({"GET", "HEAD"})

log = get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Edge:
    """Plain ASGI for HTTP. `is_starting` says whether it is not yet known which sessions are revoked; `always` are
    headers of every answer."""

    settings: GatewaySettings
    tokens: AccessTokens
    api_keys: ApiKeys
    rates: RateLimits
    limits: Limits
    upstream: Upstream
    deployments: Deployments
    openapi: OpenApi
    pages: Pages
    health: Health
    markets: LastMarkets
    new_id: Callable[[], UUID]
    is_starting: Callable[[], bool]
    always: Headers
    room: Room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange.of(scope, self.room)
        exchange.extra += self.always
        try:
            answer = await self._answer(exchange, receive)
        except ClientGone:
            return
        except Problem as problem:
            answer = await self._told(exchange, problem)
        except Exception:
            log.exception("request_failed", method=exchange.method, path=exchange.path, request_id=exchange.request_id)
            failure = Problem(500, "internal_error", "The gateway failed; the request id finds the cause.")
            answer = exchange.problem(failure)
        finally:
            exchange.leave_room()
        await exchange.send(answer, send)

    async def _answer(self, exchange: Exchange, receive: Receive) -> Answer:
        if exchange.raw_path.startswith(b"/health/"):
            return await self._health(exchange)
        if exchange.origin is not None and exchange.origin.decode("latin-1") in self.settings.gateway_cors_origins:
            exchange.extra += cors.headers(exchange.origin)
            if exchange.method == "OPTIONS" and exchange.asks_method:
                await self._count_for_address(exchange)
                return cors.PREFLIGHT
        route = routes.find(exchange.raw_path)
        if route is None or routes.is_crooked(exchange.path):
            return await self._own(exchange)
        exchange.scope["route"] = route
        if exchange.method not in routes.METHODS:
            raise _not_taken(await self.openapi.methods_of(exchange.raw_path.decode("latin-1"), exchange.request_id))
        if exchange.raw_path in routes.PUBLIC:
            return await self._public(exchange, route, receive)
        if self.is_starting():
            raise starting()
        principal = await self._principal(exchange, route, receive)
        if exchange.method == "POST":
            if exchange.raw_path in (routes.ORDERS, routes.ORDER_BATCH):
                return await self._orders(exchange, route, principal, receive)
            if exchange.raw_path == routes.DEPLOYMENTS or routes.STOP.fullmatch(exchange.raw_path):
                return await self._deployment(exchange, route, principal, receive)
        await self._admit(exchange, route, principal)
        body: Body = b""
        if exchange.method not in _READING:
            body = await exchange.passed_on(receive, self._most_bytes(route))
            self.tokens.require_living(principal)
        return await self._forward(exchange, route, principal, body)

    async def _principal(self, exchange: Exchange, route: Route, receive: Receive) -> Principal:
        if exchange.authorization is not None or not exchange.signed:
            return await self.tokens.verify(exchange.authorization)

        async def body() -> bytes:
            return b"" if exchange.method in _READING else await exchange.sent_body(receive, self._most_bytes(route))

        return await self.api_keys.verify(exchange, count_stranger=lambda: self._count_for_address(exchange), body=body)

    async def _told(self, exchange: Exchange, problem: Problem) -> Answer:
        """A problem as an answer, counted like everything else that is asked."""
        if exchange.verdict is None and problem.status != 503:
            try:
                await self._count_for_address(exchange)
            except Problem as limited:
                problem = limited
        return exchange.problem(problem)

    async def _count_for_address(self, exchange: Exchange) -> None:
        address = exchange.address(self.settings.gateway_trusted_proxies)
        (verdict,) = await self.rates.check(Check(self.limits.requests, address))
        exchange.limited(verdict)

    async def _admit(self, exchange: Exchange, route: Route, principal: Principal, weight: float = 1) -> None:
        """Counts the request for its user, then asks whether he may. Raises Problem 429 and 403."""
        weight = max(weight, routes.HEAVY.get(exchange.raw_path, 1))
        if principal.api_key_id is not None and weight > 1:
            # One was counted with its signature. Before the user's: what a key is refused takes nothing of his.
            (verdict,) = await self.rates.check(Check(self.limits.api_key, principal.api_key_id, weight - 1))
            exchange.limited(verdict)
        (verdict,) = await self.rates.check(Check(self.limits.requests, principal.key, weight))
        exchange.limited(verdict)
        principal.require_scope(route.scope_for(exchange.method))

    async def _body(self, exchange: Exchange, route: Route, receive: Receive) -> bytes:
        return await exchange.body(receive, self._most_bytes(route))

    def _most_bytes(self, route: Route) -> int:
        return min(route.body_bytes, self.settings.body_limit_bytes)

    async def _forward(self, exchange: Exchange, route: Route, principal: Principal | None, body: Body) -> Answer:
        if route.service != "data" or exchange.method != "GET":
            return await self._sent(exchange, route, principal, body)
        try:
            answer = await self._sent(exchange, route, principal, body)
        except Problem:
            last = self.markets.last(exchange.target)
            if last is None:
                raise
            return last
        if is_away(answer):
            return self.markets.last(exchange.target) or answer
        self.markets.keep(exchange.target, answer)
        return answer

    async def _sent(self, exchange: Exchange, route: Route, principal: Principal | None, body: Body) -> Answer:
        headers = exchange.forwarded
        if route.service == "auth" or exchange.method not in _READING:
            # For a person to know his sessions by, to count who guesses, and for the audit log.
            headers = headers | {"X-Client-Address": exchange.address(self.settings.gateway_trusted_proxies)}
        return await self.upstream.send(
            route.service,
            exchange.method,
            exchange.target,
            claims=None if principal is None else principal.claims,
            request_id=exchange.request_id,
            headers=headers,
            body=body,
            timeout_s=route.deadline_s,
            # HTTP/1.0 has no way to tell where an answer ends that is told before it is whole.
            streams=exchange.scope["http_version"] == "1.1",
        )

    async def _orders(self, exchange: Exchange, route: Route, principal: Principal, receive: Receive) -> Answer:
        """Orders get their names before anything can go wrong with them, so that every answer tells the names."""
        body = await self._body(exchange, route, receive)
        self.tokens.require_living(principal)
        name = name_order if exchange.raw_path == routes.ORDERS else name_batch
        refused, key = None, exchange.forwarded.get("Idempotency-Key")
        try:
            named = name(body, partial(principal.id_under, key, self.new_id))
        except Problem as problem:
            named, refused = NamedOrders(body), problem
        if named.header is not None:
            exchange.extra.append((b"x-client-order-id", named.header.encode()))
        try:
            await self._admit(exchange, route, principal, named.weight)
            if refused is not None:
                raise refused
            return await self._forward(exchange, route, principal, named.body)
        except Problem as problem:
            if named.prefix is None:
                raise
            # Nobody who answers for a batch would name its orders one by one, so the gateway does.
            return exchange.problem(problem, client_order_ids=named.minted)

    async def _deployment(self, exchange: Exchange, route: Route, principal: Principal, receive: Receive) -> Answer:
        await self._admit(exchange, route, principal)
        body = await self._body(exchange, route, receive)
        self.tokens.require_living(principal)
        stop = routes.STOP.fullmatch(exchange.raw_path)
        if stop is None:
            return await self.deployments.create(exchange, principal, body)
        return await self.deployments.stop(exchange, principal, unquote_to_bytes(stop[1]).decode("latin-1"), body)

    async def _public(self, exchange: Exchange, route: Route, receive: Receive) -> Answer:
        """What is open to strangers is limited by address; a login counts as failed until it is known not to be."""
        address = exchange.address(self.settings.gateway_trusted_proxies)
        special = None
        if exchange.method == "POST" and exchange.raw_path in (routes.LOGIN, routes.LOGIN_MFA):
            special = self.limits.failed_logins
        elif exchange.method == "POST" and exchange.raw_path in routes.MAILING:
            special = self.limits.registrations
        requests = Check(self.limits.requests, address, routes.HEAVY.get(exchange.raw_path, 1))
        if special is None:
            verdicts = await self.rates.check(requests)
        else:
            verdicts = await self.rates.check_shared(requests, Check(special, address))
        is_given_back = special is self.limits.failed_logins and verdicts[-1].allowed
        try:
            exchange.limited(next((verdict for verdict in verdicts if not verdict.allowed), verdicts[0]))
            body = b"" if exchange.method in _READING else await self._body(exchange, route, receive)
            answer = await self._forward(exchange, route, None, body)
            is_given_back = is_given_back and answer.status != 401
        finally:
            if is_given_back:
                await self.rates.check(Check(self.limits.failed_logins, address, -1))
        return answer

    async def _own(self, exchange: Exchange) -> Answer:
        """What the gateway answers by itself."""
        await self._count_for_address(exchange)
        if exchange.raw_path == b"/ws":
            detail = "This is the socket: connect with a WebSocket client."
            raise Problem(426, "upgrade_required", detail, headers={"Upgrade": "websocket"})
        page = self.pages.get(exchange.raw_path)
        if page is None and exchange.raw_path != OPENAPI:
            raise Problem(404, "not_found", "Nothing is found at this path.")
        if exchange.method not in _READING:
            raise _not_taken(_READING)
        seen = exchange.forwarded.get("If-None-Match")
        return page.answer(seen) if page is not None else await self.openapi.answer(exchange.request_id, seen)

    async def _health(self, exchange: Exchange) -> Answer:
        if exchange.method not in _READING:
            raise _not_taken(_READING)
        if exchange.raw_path == b"/health/live":
            told: dict[str, object] = {"live": not self.health.dead, "dead": self.health.dead}
            return json_answer(told, 503 if self.health.dead else 200)
        if exchange.raw_path == b"/health/ready":
            checks = await self.health.readiness()
            # A part that is degraded is told, but taking the gateways away would make it worse for everybody.
            is_ready = all(result == "ok" or result.startswith("degraded") for result in checks.values())
            return json_answer({"ready": is_ready, "checks": checks}, 200 if is_ready else 503)
        raise Problem(404, "not_found", "Nothing is found at this path.")


def _not_taken(methods: Iterable[str]) -> Problem:
    headers = {"Allow": ", ".join(sorted(methods))}
    return Problem(405, "method_not_allowed", "The path does not take this method.", headers=headers)
