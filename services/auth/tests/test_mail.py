"""Mail by SMTP: a server that wants TLS and a login, letter boxes that are not there or full."""

import asyncio
import contextlib
import os
import secrets
import ssl
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword
from fleet_auth.app import create_app
from fleet_auth.mail import Mail, MailNotSent, MailRefused, SmtpMailer, mailer_of
from fleet_auth.settings import AuthSettings
from fleet_chassis.assertions import AssertionSigner
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from pydantic import SecretStr

# Said of servers that offer no STARTTLS, which are here to be turned down, or speak TLS from the first byte on.
pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")

SENDER = "Tradefleet <no-reply@example.com>"


@dataclass
class Letterboxes:
    """Takes mail to everybody but `nobody…` (for ever) and `full…` (once)."""

    taken: list[Envelope] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    pause_s: float = 0

    async def handle_MAIL(self, _server: Any, _session: Any, envelope: Envelope, sender: str, options: Any) -> str:
        await asyncio.sleep(self.pause_s)
        envelope.mail_from = sender
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Envelope, to: str, _options: Any) -> str:
        await asyncio.sleep(self.pause_s)
        is_full = to.startswith("full") and to not in self.refused
        if to.startswith("nobody") or is_full:
            self.refused.append(to)
            return "452 the letter box is full" if is_full else "550 no such letter box"
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Envelope) -> str:
        assert session.authenticated
        self.taken.append(envelope)
        return "250 OK"


def log_in(_server: Any, _session: Any, _envelope: Any, _mechanism: str, given: Any) -> AuthResult:
    assert isinstance(given, LoginPassword)
    # Not handled: the server answers 535 by itself.
    return AuthResult(success=(given.login, given.password) == (b"fleet@mail", b"se/cret"), handled=False)


@dataclass
class Server:
    boxes: Letterboxes
    tls: ssl.SSLContext

    @contextlib.asynccontextmanager
    async def listening(self, *, offers_starttls: bool = True, is_tls: bool = False) -> AsyncIterator[str]:
        """Where, as the rest of a URL."""

        def connected() -> SMTP:
            return SMTP(
                self.boxes,
                tls_context=self.tls if offers_starttls and not is_tls else None,
                authenticator=log_in,
                auth_required=True,
                auth_require_tls=offers_starttls and not is_tls,
            )

        listening = await asyncio.get_running_loop().create_server(
            connected, "127.0.0.1", 0, ssl=self.tls if is_tls else None
        )
        try:
            yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        finally:
            listening.close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Its certificate is of an authority that this machine trusts for the time."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return Server(Letterboxes(), tls)


def a_mail(to: str = "ada@example.com") -> Mail:
    return Mail(to=to, subject="Grüße", text="Über alles: ein Wort.\n")


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_it_goes_over_tls_and_after_a_login(server: Server, scheme: str) -> None:
    async with server.listening(is_tls=scheme == "smtps") as where:
        await mailer_of(f"{scheme}://fleet%40mail:se%2Fcret@{where}", SENDER).send(a_mail())
    (taken,) = server.boxes.taken
    assert isinstance(taken.content, bytes)
    message = message_from_bytes(taken.content)
    assert (taken.mail_from, taken.rcpt_tos, message["To"]) == (
        "no-reply@example.com",
        ["ada@example.com"],
        "ada@example.com",
    )
    body = message.get_payload(decode=True)
    assert isinstance(body, bytes) and body.decode().strip() == "Über alles: ein Wort."


async def test_a_letter_box_that_is_not_there_is_told_from_one_that_is_full(server: Server) -> None:
    async with server.listening() as where:
        mailer = mailer_of(f"smtp://fleet%40mail:se%2Fcret@{where}", SENDER)
        with pytest.raises(MailRefused, match="SMTP 550"):
            await mailer.send(a_mail("nobody@example.com"))
        with pytest.raises(MailNotSent, match="SMTP 452"):
            await mailer.send(a_mail("full@example.com"))
        await mailer.send(a_mail("full@example.com"))
    assert len(server.boxes.taken) == 1


async def test_nothing_is_said_to_a_server_that_is_not_trusted_or_not_there(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server.listening() as where:
        with pytest.raises(MailNotSent, match="SMTPAuthenticationError"):
            await mailer_of(f"smtp://fleet%40mail:wrong@{where}", SENDER).send(a_mail())
    with pytest.raises(MailNotSent, match="SMTPConnectError"):
        await mailer_of(f"smtp://fleet%40mail:se%2Fcret@{where}", SENDER).send(a_mail())
    async with server.listening(offers_starttls=False) as where:
        with pytest.raises(MailNotSent, match="SMTPException"):
            await mailer_of(f"smtp://fleet%40mail:se%2Fcret@{where}", SENDER).send(a_mail())
    monkeypatch.delenv("SSL_CERT_FILE")
    async with server.listening() as where:
        with pytest.raises(MailNotSent, match="SSLCertVerificationError"):
            await mailer_of(f"smtp://fleet%40mail:se%2Fcret@{where}", SENDER).send(a_mail())
    assert server.boxes.taken == []


async def test_a_server_that_takes_its_time_for_every_word_has_taken_nothing(server: Server) -> None:
    """Each answer comes in time, all of them together do not."""
    server.boxes.pause_s = 0.3
    async with server.listening() as where:
        mailer = SmtpMailer(f"smtp://fleet%40mail:se%2Fcret@{where}", SENDER, timeout_s=0.5)
        with pytest.raises(MailNotSent, match="TimeoutError"):
            await mailer.send(a_mail())
    assert server.boxes.taken == []


@pytest.mark.parametrize("url", ["stmp://fleet:secret@mail.example.com", "smtp:secret", "mail.example.com:25"])
def test_what_is_no_url_of_a_mail_server_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="a mail URL is") as refused:
        mailer_of(url, SENDER)
    assert "secret" not in str(refused.value)


async def test_what_is_not_taken_is_sent_again_and_what_is_refused_is_not(
    server: Server, auth_settings: AuthSettings, auth_keys: Path
) -> None:
    """two register → one has no letter box, the other's is full → a moment later: one mail, and no more is tried"""
    addresses = [f"{box}-{secrets.token_hex(4)}@example.com" for box in ("nobody", "full")]
    clock, signer = FakeClock(), AssertionSigner("gateway", auth_keys / "gateway.pem")
    async with server.listening() as where, aiohttp.ClientSession() as http:
        url = SecretStr(f"smtp://fleet%40mail:se%2Fcret@{where}")
        settings = auth_settings.model_copy(update={"auth_mail": url, "auth_email_verification": True})
        async with served(create_app(settings, clock=clock)) as base:
            for email in addresses:
                body = {"email": email, "password": "correct horse"}
                headers = {"Authorization": f"Bearer {signer.sign('auth')}"}
                async with http.post(f"{base}/api/v1/auth/register", json=body, headers=headers) as answer:
                    assert answer.status == 202
            await eventually(lambda: sorted(server.boxes.refused) == sorted(addresses))

            async def is_sent() -> bool:
                clock.advance(seconds=1)
                return bool(server.boxes.taken)

            await eventually(is_sent)
            assert await eventually(lambda: _nothing_is_due(settings))
    assert [taken.rcpt_tos for taken in server.boxes.taken] == [[addresses[1]]]
    assert sorted(server.boxes.refused) == sorted(addresses)


async def _nothing_is_due(settings: AuthSettings) -> bool:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        return not await connection.fetchval("SELECT count(*) FROM due WHERE kind = 'send_confirmation'")
    finally:
        await connection.close()


async def test_mails_in_a_file_are_read_by_its_owner_only(tmp_path: Path) -> None:
    """Whatever the umask is: there are tokens in them."""
    path, before = tmp_path / "mail.jsonl", os.umask(0)
    try:
        await mailer_of(f"file:{path}", "").send(Mail(to="ada@example.com", subject="s", text="t", token="x"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
