"""The gateway as it runs: real Kafka and Valkey, the real auth, and services that tell what reached them."""

import asyncio
import contextlib
import dataclasses
import functools
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from runpy import run_path
from typing import Any

import aiohttp
import fleet_bus
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fastapi import FastAPI, Request, Response
from fleet_auth.app import create_app as create_auth
from fleet_auth.settings import AuthSettings
from fleet_bus import Bus
from fleet_chassis.app import new_app
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.settings import DatabaseSettings, ServiceSettings
from fleet_contracts.topics import TOPICS
from fleet_gateway.app import create_app
from fleet_gateway.http_protocol import HttpProtocol
from fleet_gateway.settings import GatewaySettings
from fleet_gateway.sockets.protocol import SocketProtocol
from fleet_launcher import services as launched
from fleet_launcher.keys import new_field_keys
from fleet_launcher.stack import Endpoints
from fleet_testkit.clock import ShiftedClock
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import MakeDatabase
from fleet_testkit.http import served
from fleet_testkit.topics import topics_under
from pydantic import SecretStr
from redis.asyncio import Redis
from socket_clients import Trader
from yarl import URL

SERVICES = (
    "gateway",
    "auth",
    "trading",
    "strategy",
    "data",
    "core-engine",
    "execution",
    "exchange-connector",
    "matching-engine",
)
TRUSTED_ORIGIN = "https://app.example"
BUS_MIGRATIONS = Path(fleet_bus.__file__).parent / "migrations"


@dataclass(frozen=True)
class Seen:
    """What reached a service."""

    method: str
    target: str
    headers: dict[str, str]
    claims: dict[str, Any]
    body: bytes


@dataclass
class Recorder:
    """A service that answers what it is told to, by method and path, and keeps what it was asked."""

    name: str
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    gate: tuple[asyncio.Event, asyncio.Event] | None = None
    """Where set, a request raises the first event, and waits for the second before it is answered."""

    def app(self, settings: ServiceSettings) -> FastAPI:
        @contextlib.asynccontextmanager
        async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
            yield

        app = new_app(settings, self.name, lifespan, Health())

        @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
        async def anything(request: Request) -> Response:
            caller = app.state.verifier.verify_header(request.headers["authorization"])
            target = request.url.path + ("?" + request.url.query if request.url.query else "")
            body = await request.body()
            self.seen.append(Seen(request.method, target, dict(request.headers), dict(caller.claims), body))
            if self.gate is not None:
                asked, go_on = self.gate
                asked.set()
                await go_on.wait()
            status, content = self.answers.get((request.method, request.url.path), (200, {"service": self.name}))
            headers = {"X-Told": "yes", "Location": "/somewhere"}
            text = b"" if status == 204 else json.dumps(content).encode()
            return Response(text, status, headers, media_type="application/json")

        return app


@dataclass
class FleetUnderTest:
    """The gateway's URL, what is behind it, and the way to speak for trading and the others on Kafka."""

    url: str
    settings: GatewaySettings
    clock: ShiftedClock
    services: dict[str, Recorder]
    signer: AssertionSigner
    bus: Bus
    http: aiohttp.ClientSession

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        address: str | None = None,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> "GatewayReply":
        sent = {"X-Forwarded-For": address or a_new_address()} | (headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        url = URL(self.url + path, encoded=True)
        async with self.http.request(method, url, headers=sent, **more) as response:
            text = await response.read()
            is_json = "json" in response.headers.get("content-type", "")
            return GatewayReply(response.status, response.headers, json.loads(text) if is_json and text else text)

    async def new_user(self) -> "LoggedIn":
        body = {"email": f"{secrets.token_hex(6)}@example.com", "password": "correct horse"}
        registered = await self.call("POST", "/api/v1/auth/register", json=body)
        assert registered.status == 201, registered.body
        login = await self.call("POST", "/api/v1/auth/login", json=body)
        assert login.status == 200, login.body
        token = login.body["access_token"]
        claims = jwt.decode(token, options={"verify_signature": False})
        return LoggedIn(registered.body["user_id"], claims["sid"], token, body)


@dataclass(frozen=True)
class GatewayReply:
    status: int
    headers: Any
    body: Any

    def assert_problem(self, status: int, code: str) -> None:
        assert (self.status, self.body.get("code")) == (status, code), self.body
        assert self.headers["content-type"] == "application/problem+json"
        assert set(self.body) >= {"type", "title", "status", "detail", "instance", "code", "request_id"}
        assert self.body["status"] == status
        assert self.body["request_id"] == self.headers["X-Request-ID"]


@dataclass(frozen=True)
class LoggedIn:
    user_id: str
    session_id: str
    token: str
    credentials: dict[str, str]


def a_new_address() -> str:
    """Limits of addresses are shared by all test sessions, so every caller comes from somewhere else."""
    return ".".join(["10", *(str(number) for number in secrets.token_bytes(3))])


@pytest.fixture(scope="session")
def fleet_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everybody's key pair."""
    folder = tmp_path_factory.mktemp("fleet-keys")
    public = {}
    for name in SERVICES:
        key = Ed25519PrivateKey.generate()
        (folder / f"{name}.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public[name] = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    (folder / "fields.json").write_text(new_field_keys())
    (folder / "public.json").write_text(json.dumps(public))
    return folder


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The interface of each service as it tells it."""
    application = run_path(str(Path(__file__).resolve().parents[3] / "scripts" / "permissions.py"))["application"]
    return {
        service.name: application(service, tmp_path_factory.mktemp(service.name)).openapi()
        for service in launched.SERVICES
        if service.has_database
    }


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(stack: Endpoints, make_database: MakeDatabase, fleet_keys: Path) -> AsyncIterator[FleetUnderTest]:
    prefix = f"gateway-{secrets.token_hex(4)}."
    instances = fleet_keys / f"{prefix}instances.json"

    def common(name: str) -> dict[str, Any]:
        return {
            "service": name,
            "port": 0,
            "kafka_url": stack.kafka_url,
            "topic_prefix": prefix,
            "instances": instances,
            "private_key_file": fleet_keys / f"{name}.pem",
            "public_keys_file": fleet_keys / "public.json",
        }

    auth = AuthSettings(
        auth_email_verification=False,
        auth_password_min_length=8,
        **common("auth"),
        database_url=SecretStr(await make_database("auth")),
        auth_field_keys_file=fleet_keys / "fields.json",
        auth_argon2_time_cost=1,
        auth_argon2_memory_kib=64,
    )
    gateway = GatewaySettings(
        **common("gateway"),
        redis_url=SecretStr(stack.redis_url),
        # All of this fleet is one process: while another part of it works, Redis is not away.
        gateway_rate_answer_timeout_s=5,
        gateway_trusted_proxies=(ip_network("127.0.0.0/8"),),
        gateway_cors_origins=(TRUSTED_ORIGIN,),
    )
    speaker = DatabaseSettings(**common("trading"), database_url=SecretStr(await make_database([BUS_MIGRATIONS])))
    recorders = {name: Recorder(name) for name in SERVICES[2:]}
    clock = ShiftedClock()
    async with contextlib.AsyncExitStack() as running:
        await running.enter_async_context(topics_under(prefix, stack.kafka_url, TOPICS))
        urls = {"auth": await running.enter_async_context(served(create_auth(auth)))}
        for name, recorder in recorders.items():
            app = recorder.app(ServiceSettings(**common(name)))
            urls[name] = await running.enter_async_context(served(app))
        write_instances(instances, urls)
        database = await running.enter_async_context(Database(speaker.database_url, application_name="speaker"))
        bus = Bus(speaker, database)
        await running.enter_async_context(bus.running(Health()))
        edge = create_app(gateway, clock=clock)
        url = await running.enter_async_context(
            served(edge, http=HttpProtocol, ws=SocketProtocol, ws_per_message_deflate=False, server_header=False)
        )
        http = await running.enter_async_context(aiohttp.ClientSession())
        signer = AssertionSigner("gateway", gateway.private_key_file)
        under_test = FleetUnderTest(url, gateway, clock, recorders, signer, bus, http)
        await eventually(lambda: is_ready(under_test), 20)
        await eventually(functools.partial(remembers, stack.redis_url), 30)
        yield under_test


@contextlib.asynccontextmanager
async def another_gateway(
    fleet: FleetUnderTest, folder: Path, *, services: dict[str, str] | None = None, **changed: Any
) -> AsyncIterator[FleetUnderTest]:
    """A second gateway of the same fleet with settings of its own; `services` are URLs that only it believes in."""
    listed = json.loads(fleet.settings.instances.read_text())["instances"]
    instances = folder / "instances.json"
    write_instances(instances, {one["name"]: one["url"] for one in listed} | (services or {}))
    settings = fleet.settings.model_copy(update={"ordinal": 1, "instances": instances, **changed})
    async with served(create_app(settings), http=HttpProtocol, ws=SocketProtocol, ws_per_message_deflate=False) as url:
        other = dataclasses.replace(fleet, url=url, settings=settings)
        await eventually(lambda: is_ready(other), 20)
        yield other


@pytest.fixture(scope="module")
def second_gateway(fleet: FleetUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return functools.partial(another_gateway, fleet, tmp_path_factory.mktemp("second-gateway"))


@pytest.fixture
async def trader(fleet: Any) -> Trader:
    return Trader(fleet, await fleet.new_user())


async def remembers(redis_url: str) -> bool:
    """Whether Redis, which this session may just have started, is old enough to know every signature that is good: 5 s, a
    second that it may not tell of, and the time that a busy machine takes for a request."""
    async with Redis.from_url(redis_url) as redis:
        return bool((await redis.info("server"))["uptime_in_seconds"] >= 10)


async def is_ready(fleet: FleetUnderTest) -> bool:
    return (await fleet.call("GET", "/health/ready")).status == 200


def write_instances(file: Path, urls: dict[str, str]) -> None:
    listed = [{"name": name, "ordinal": 0, "url": url} for name, url in urls.items()]
    file.write_text(json.dumps({"instances": listed}))
