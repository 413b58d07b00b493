"""The gateway's composition root."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

import msgspec
from fleet_bus import Bus, Received
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.background import Background
from fleet_chassis.clock import Clock
from fleet_chassis.health import Health
from fleet_chassis.ids import new_id
from fleet_chassis.instances import Instances
from fleet_chassis.problems import Problem, unavailable
from fleet_chassis.telemetry import instrumented
from fleet_contracts import Message
from fleet_contracts.auth import SessionRevoked
from fleet_contracts.core_engine import Alert
from fleet_contracts.data import BestQuote, InstrumentDefined
from fleet_contracts.topics import AUTH_SESSIONS, CORE_ENGINE_ALERTS, DATA_INSTRUMENTS, DATA_QUOTES, TRADING_ACCOUNTS
from fleet_contracts.trading import Account
from prometheus_client import start_http_server
from starlette.datastructures import State
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from .answers import HSTS
from .api_keys import ApiKeys
from .bodies import Room
from .deployments import Deployments
from .edge import Edge
from .http_protocol import HttpProtocol
from .identity import AccessTokens, KeySet
from .limits import Limits
from .markets import LastMarkets
from .openapi import OpenApi
from .pages import Pages
from .rates import RateLimits
from .settings import GatewaySettings
from .sockets.hub import Hub
from .sockets.protocol import SocketProtocol
from .sockets.server import Sockets
from .sockets.snapshots import AccountsOfUsers, Snapshots
from .tickets import Tickets
from .tls import Certificate
from .upstream import Upstream

JWKS = "/api/v1/auth/.well-known/jwks.json"


class Gateway:
    """The ASGI application: a plain one, because every layer costs every request."""

    def __init__(self, settings: GatewaySettings, clock: Clock | None) -> None:
        self.state = State({"health": Health()})
        self._settings = settings
        self._clock = clock
        self._edge: ASGIApp | None = None
        self._sockets: Sockets | None = None
        self._lifespan = Router(lifespan=self._running)
        self.certificate = (
            None
            if settings.gateway_tls_certificate is None
            else Certificate(
                settings.gateway_tls_certificate,
                settings.gateway_tls_key,
                look_every_s=settings.gateway_tls_look_every_s,
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._edge is not None:
            await self._edge(scope, receive, send)
        elif scope["type"] == "websocket" and self._sockets is not None:
            await self._sockets(scope, receive, send)
        else:
            await self._lifespan(scope, receive, send)

    @asynccontextmanager
    async def _running(self, _app: object) -> AsyncIterator[None]:
        settings, health = self._settings, self.state.health
        async with AsyncExitStack() as stack:
            signer = AssertionSigner(settings.service, settings.private_key_file)
            upstream = Upstream(settings, Instances(settings.instances), signer)
            stack.callback(upstream.close)
            rates = RateLimits(settings.redis_url.get_secret_value(), settings.gateway_rate_answer_timeout_s)
            stack.push_async_callback(rates.close)
            limits = Limits.of(settings)

            bus = Bus(settings, None, clock=self._clock)
            keys = KeySet(_key_reader(upstream))
            revoked = bus.table(AUTH_SESSIONS, SessionRevoked)
            tokens = AccessTokens(keys, revoked, bus.clock)
            api_keys = ApiKeys(upstream, rates, limits.api_key, bus.clock, settings.gateway_trusted_proxies)
            revoked.on_change(api_keys.on_change)
            accounts = AccountsOfUsers()
            bus.table(TRADING_ACCOUNTS, Account).on_change(_account_listener(accounts))
            instruments = bus.table(DATA_INSTRUMENTS, InstrumentDefined)
            alerts = bus.table(CORE_ENGINE_ALERTS, Alert)
            hub = Hub(tokens, instruments, bus.table(DATA_QUOTES, BestQuote), alerts, bus.clock)
            for watch in hub.watches():
                bus.add(watch)

            always = [HSTS] if self.certificate else []
            is_starting = _latch(lambda: bus.ready() is None)
            health.check("access_token_keys", _keys_check(keys))
            health.check("rate_limits", rates.readiness)
            self._sockets = Sockets(
                settings=settings,
                tokens=tokens,
                tickets=Tickets(upstream),
                rates=rates,
                limits=limits,
                hub=hub,
                snapshots=Snapshots(upstream, accounts, lambda: str(new_id())),
                clock=bus.clock,
                is_starting=is_starting,
                always=always,
            )
            edge = Edge(
                settings=settings,
                tokens=tokens,
                api_keys=api_keys,
                rates=rates,
                limits=limits,
                upstream=upstream,
                deployments=Deployments(upstream, new_id),
                openapi=OpenApi(upstream, version("fleet-gateway")),
                pages=Pages(),
                health=health,
                markets=LastMarkets(),
                new_id=new_id,
                is_starting=is_starting,
                always=always,
                room=Room(settings.gateway_bodies_bytes, settings.gateway_bodies_streamed),
            )
            self._edge = instrumented(edge, settings)
            if settings.gateway_metrics_port is not None:
                metrics, _ = start_http_server(settings.gateway_metrics_port, settings.host)
                stack.callback(metrics.shutdown)
            await stack.enter_async_context(bus.running(health))
            background = await stack.enter_async_context(Background(health))
            background.start("sockets", hub.run())
            background.start("books", hub.run_books())
            background.start("access_token_keys", keys.run())
            background.start("uses_of_api_keys", api_keys.run())
            if self.certificate is not None:
                health.check("certificate", self.certificate.readiness)
                background.start("certificate", self.certificate.run())
            yield


def create_app(settings: GatewaySettings, *, clock: Clock | None = None) -> Gateway:
    """The application; its state holds `health`. Raises OSError if its certificate cannot be used."""
    return Gateway(settings, clock)


def uvicorn_options(app: Gateway) -> dict[str, Any]:
    """How it is served: further options of uvicorn.Config."""
    options: dict[str, Any] = {
        "http": HttpProtocol,
        "ws": SocketProtocol,
        # A frame is taken up to the largest body; the application judges messages by its own, smaller limit.
        "ws_max_size": 1_048_576,
        "ws_per_message_deflate": False,
    }
    certificate = app.certificate
    if certificate is not None:
        options["ssl_context_factory"] = lambda _config, _default: certificate.context
    return options


def _key_reader(upstream: Upstream) -> Callable[[], Any]:
    async def read() -> Mapping[str, Any]:
        answer = await upstream.send("auth", "GET", JWKS, claims=None, request_id=str(new_id()))
        if answer.status != 200:
            raise unavailable("The service auth does not tell its keys.")
        return msgspec.json.decode(answer.body, type=dict[str, list[dict[str, Any]]])

    return read


def _keys_check(keys: KeySet) -> Callable[[], Any]:
    async def check() -> str | None:
        if not keys.is_known:
            try:
                await keys.refresh()
            except Problem as problem:
                return problem.detail
        return None

    return check


def _account_listener(accounts: AccountsOfUsers) -> Callable[[str, Received[Message] | None], None]:
    def listen(_key: str, received: Received[Message] | None) -> None:
        if received is not None and isinstance(received.message, Account):
            accounts.take(received.message)

    return listen


def _latch(is_ready: Callable[[], bool]) -> Callable[[], bool]:
    """Whether it was never ready yet. Kafka may go later: what is known stays true enough for five minutes' tokens."""
    was_ready = False

    def is_starting() -> bool:
        nonlocal was_ready
        was_ready = was_ready or is_ready()
        return not was_ready

    return is_starting
