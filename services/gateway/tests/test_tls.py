"""Certificates that are renewed while the gateway runs."""

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from fleet_gateway.app import create_app, uvicorn_options
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served


@dataclass
class TlsGateway:
    """A gateway that looks at its certificate all the time, and its clients, who trust the authority alone."""

    authority: trustme.CA
    chain: Path
    key: Path
    port: int = 0

    def issue(self) -> trustme.LeafCert:
        return self.authority.issue_cert("localhost")

    def put(self, issued: trustme.LeafCert) -> None:
        """As those do who renew: each file under another name first."""
        for pem, file in ((issued.private_key_pem, self.key), (issued.cert_chain_pems[0], self.chain)):
            fresh = file.with_suffix(".new")
            pem.write_to_path(fresh)
            fresh.replace(file)

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        # Who comes by address names no server; his certificate is compared by the test.
        context.check_hostname = False
        return context

    async def connect(self, name: str = "localhost") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trusting(), server_hostname=name)

    async def shown(self, name: str = "localhost") -> str:
        """The certificate of a handshake made now."""
        _, writer = await self.connect(name)
        shown = ssl.DER_cert_to_PEM_cert(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
        writer.close()
        return shown

    async def is_degraded(self, fleet: Any) -> bool:
        url = f"https://localhost:{self.port}/health/ready"
        async with fleet.http.get(url, ssl=self.trusting()) as reply:
            assert reply.status == 200
            return bool((await reply.json())["checks"]["certificate"].startswith("degraded"))


def pem_of(issued: trustme.LeafCert) -> str:
    return issued.cert_chain_pems[0].bytes().decode()


@contextlib.asynccontextmanager
async def tls_gateway(fleet: Any, folder: Path) -> AsyncIterator[tuple[TlsGateway, trustme.LeafCert]]:
    gateway = TlsGateway(trustme.CA(), folder / "gateway.crt", folder / "gateway.key")
    first = gateway.issue()
    gateway.put(first)
    app = create_app(
        fleet.settings.model_copy(
            update={
                "gateway_tls_certificate": gateway.chain,
                "gateway_tls_key": gateway.key,
                "gateway_tls_look_every_s": 0.05,
                "ordinal": 1,
            }
        )
    )
    async with served(app, **uvicorn_options(app)) as url:
        gateway.port = int(url.rsplit(":", 1)[1])
        yield gateway, first


async def test_a_renewed_certificate_is_shown_without_a_restart(fleet: Any, tmp_path: Path) -> None:
    """the first → renewed: the second, also to who names no server → who was connected before goes on"""
    async with tls_gateway(fleet, tmp_path) as (gateway, first):
        assert await gateway.shown() == pem_of(first)
        reader, writer = await gateway.connect()
        second = gateway.issue()
        gateway.put(second)

        async def is_shown() -> bool:
            return await gateway.shown() == pem_of(second)

        await eventually(is_shown)
        assert await gateway.shown("127.0.0.1") == pem_of(second)
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 200 ")
        writer.close()


@pytest.mark.parametrize("wrong", ["another's key", "no certificate", "no file"])
async def test_what_does_not_fit_is_told_and_the_one_before_stays(fleet: Any, tmp_path: Path, wrong: str) -> None:
    """wrong files: degraded, the first is shown → right ones: all is well, the second is shown"""
    async with tls_gateway(fleet, tmp_path) as (gateway, first):
        match wrong:
            case "another's key":
                gateway.issue().private_key_pem.write_to_path(gateway.key)
            case "no certificate":
                gateway.chain.write_text("nothing of the kind")
            case _:
                gateway.chain.unlink()
        await eventually(lambda: gateway.is_degraded(fleet))
        assert await gateway.shown() == pem_of(first)
        second = gateway.issue()
        gateway.put(second)

        async def is_well() -> bool:
            return not await gateway.is_degraded(fleet)

        await eventually(is_well)
        assert await gateway.shown() == pem_of(second)


def test_a_setting_that_is_wrong_is_a_line_each() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    environment["FLEET_GATEWAY_RATE_BURST"] = "none"
    done = subprocess.run(
        [sys.executable, "-m", "fleet_gateway"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert all(line.startswith("error: FLEET_") for line in lines), done.stderr
    assert any(line.startswith("error: FLEET_GATEWAY_RATE_BURST: ") for line in lines)
