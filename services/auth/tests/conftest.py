"""auth as it runs: its own database, the real Kafka, and a gateway's assertions."""

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fleet_auth.app import create_app
from fleet_auth.settings import AuthSettings
from fleet_bus.admin import create_topics, delete_topics
from fleet_chassis.assertions import AssertionSigner
from fleet_contracts.topics import AUDIT_TOPICS, AUTH_SESSIONS, AUTH_USERS
from fleet_launcher.keys import new_field_keys
from fleet_launcher.stack import Endpoints
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import MakeDatabase
from fleet_testkit.http import served
from pydantic import SecretStr


@dataclass(frozen=True)
class AuthReply:
    status: int
    headers: Any
    body: Any


@dataclass
class AuthUnderTest:
    """auth, called as the gateway calls it."""

    url: str
    settings: AuthSettings
    clock: FakeClock
    signer: AssertionSigner
    http: aiohttp.ClientSession

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        user: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        prefix: str = "/api/v1/auth",
    ) -> AuthReply:
        sent = {"Authorization": f"Bearer {self.signer.sign('auth', user)}"} | (headers or {})
        async with self.http.request(method, self.url + prefix + path, json=json, headers=sent) as response:
            text = await response.text()
            return AuthReply(response.status, response.headers, parse(text))

    async def registered(self, **fields: Any) -> dict[str, Any]:
        body = {"email": f"{secrets.token_hex(6)}@example.com", "password": "correct horse"} | fields
        reply = await self.call("POST", "/register", json=body)
        assert reply.status == 201, reply.body
        return {**reply.body, "password": body["password"]}

    async def logged_in(self, user: dict[str, Any]) -> dict[str, Any]:
        reply = await self.call("POST", "/login", json={"email": user["email"], "password": user["password"]})
        assert reply.status == 200, reply.body
        tokens: dict[str, Any] = reply.body
        return tokens

    def mails(self, to: str) -> list[dict[str, Any]]:
        assert self.settings.auth_mail is not None
        path = Path(self.settings.auth_mail.get_secret_value().removeprefix("file:"))
        lines = path.read_text().splitlines() if path.exists() else []
        return [mail for mail in map(json.loads, lines) if mail["to"] == to]

    async def mailed(self, to: str, number: int = 1) -> dict[str, Any]:
        """The number-th mail to the address, once it is there."""
        await eventually(lambda: len(self.mails(to)) >= number)
        return self.mails(to)[number - 1]


def parse(text: str) -> Any:
    return json.loads(text) if text else None


@pytest.fixture(scope="session")
def auth_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a key pair of auth and one of the gateway."""
    folder = tmp_path_factory.mktemp("auth-keys")
    public = {}
    for name in ("auth", "gateway", "trading"):
        key = Ed25519PrivateKey.generate()
        (folder / f"{name}.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        public[name] = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    (folder / "fields.json").write_text(new_field_keys())
    (folder / "public.json").write_text(json.dumps(public))
    (folder / "instances.json").write_text('{"instances": []}')
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def auth_settings(stack: Endpoints, make_database: MakeDatabase, auth_keys: Path) -> AsyncIterator[AuthSettings]:
    prefix, topics = f"auth-{secrets.token_hex(4)}.", (AUTH_USERS, AUTH_SESSIONS, *AUDIT_TOPICS)
    await create_topics(stack.kafka_url, topics, prefix=prefix)
    yield AuthSettings(
        service="auth",
        port=0,
        kafka_url=stack.kafka_url,
        topic_prefix=prefix,
        instances=auth_keys / "instances.json",
        private_key_file=auth_keys / "auth.pem",
        public_keys_file=auth_keys / "public.json",
        database_url=SecretStr(await make_database("auth")),
        auth_field_keys_file=auth_keys / "fields.json",
        auth_email_verification=False,
        auth_password_min_length=8,
        auth_mail=SecretStr(f"file:{auth_keys / 'mail.jsonl'}"),
        auth_argon2_time_cost=1,
        auth_argon2_memory_kib=64,
    )
    await delete_topics(stack.kafka_url, topics, prefix=prefix)


StartAdmin = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture(scope="session")
def start_admin() -> StartAdmin:
    """Starts `python -m fleet_auth.admin …` with these settings, as the fleet command does."""

    async def start(settings: AuthSettings, *arguments: str) -> asyncio.subprocess.Process:
        environment = {
            f"FLEET_{name.upper()}": str(value)
            for name, value in settings.model_dump(exclude={"database_url"}).items()
            if value is not None
        } | {"FLEET_DATABASE_URL": settings.database_url.get_secret_value(), "PATH": os.environ["PATH"]}
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "fleet_auth.admin", *arguments)
        return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)

    return start


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def auth(auth_settings: AuthSettings, auth_keys: Path) -> AsyncIterator[AuthUnderTest]:
    clock = FakeClock()
    async with served(create_app(auth_settings, clock=clock)) as url, aiohttp.ClientSession() as http:
        yield AuthUnderTest(url, auth_settings, clock, AssertionSigner("gateway", auth_keys / "gateway.pem"), http)
