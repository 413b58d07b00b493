"""Keys, settings and a service for the tests of the chassis."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fleet_chassis.settings import ServiceSettings

# Outside a service structlog renders tracebacks for a terminal, which takes seconds.
structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)])


@dataclass
class Keyring:
    """A folder with key pairs of services, as the launcher lays it out."""

    folder: Path
    public: dict[str, str] = field(default_factory=dict)

    @property
    def public_keys_file(self) -> Path:
        return self.folder / "public-keys.json"

    def add(self, service: str, *, is_known: bool = True) -> Path:
        """A new pair; the answer is the private key's file."""
        key = Ed25519PrivateKey.generate()
        path = self.folder / f"{service}.pem"
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        if is_known:
            public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            self.public[service] = public.decode("ascii")
        self.public_keys_file.write_text(json.dumps(self.public))
        return path


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    ring = Keyring(tmp_path)
    for service in ("gateway", "trading", "core-engine", "cli"):
        ring.add(service)
    return ring


@pytest.fixture
def trading_settings(keyring: Keyring) -> ServiceSettings:
    return ServiceSettings(
        service="trading",
        port=0,
        kafka_url="127.0.0.1:1",
        instances=keyring.folder / "instances.json",
        private_key_file=keyring.folder / "trading.pem",
        public_keys_file=keyring.public_keys_file,
    )


class Cuttable:
    """A TCP proxy before PostgreSQL that can be cut, or cuts itself when it sees a certain request."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._streams: set[asyncio.StreamWriter] = set()
        self.cut_before: bytes | None = None
        self.cut_after: bytes | None = None

    @property
    def url(self) -> str:
        place = self._target.netloc.rpartition("@")[0] + f"@127.0.0.1:{self._port}"
        return urlunsplit(self._target._replace(netloc=place))

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Closes the port and every connection."""
        assert self._server is not None
        self._server.close()
        self._cut_connections()

    def _cut_connections(self) -> None:
        for writer in self._streams:
            writer.transport.abort()
        self._streams.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, up = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._streams |= {writer, up}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pass_requests(reader, up), self._pass_answers(upstream, writer))

    async def _pass_requests(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if self.cut_before is not None and self.cut_before in data:
                self._cut_connections()
                return
            target.write(data)
            if self.cut_after is not None and self.cut_after in data:
                # The server gets the request; whoever asked gets no answer.
                await target.drain()
                target.write_eof()
                self._streams.discard(target)
                self._cut_connections()
                return
        target.transport.abort()

    async def _pass_answers(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
        target.transport.abort()


@pytest.fixture
async def cuttable() -> AsyncIterator[Callable[[str], Cuttable]]:
    made: list[Cuttable] = []

    def make(url: str) -> Cuttable:
        made.append(Cuttable(url))
        return made[-1]

    yield make
    for proxy in made:
        proxy.cut()
