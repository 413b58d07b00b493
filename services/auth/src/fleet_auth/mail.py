"""Mail: by SMTP, or on the local stack into a file that `fleet mail` shows."""

import asyncio
import os
import smtplib
import ssl
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import msgspec

SMTP_TIMEOUT_S = 4.0
"""A mail is sent inside a transaction, which the database ends when it idles for 5 s."""


_PERMANENT = 500
"""From here on a reply of SMTP means that it will be the same next time (RFC 5321, 4.2.1)."""


class MailNotSent(Exception):
    """The mail's server did not take it; it is tried again."""


class MailRefused(Exception):
    """There is no such letter box: trying again would change nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """`token` is the secret in the text, if there is one."""

    to: str
    subject: str
    text: str
    token: str | None = None


class Mailer(Protocol):
    async def send(self, mail: Mail) -> None:
        """Raises MailNotSent, MailRefused."""


class FileMailer:
    """Appends each mail as a line of JSON."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, mail: Mail) -> None:
        await asyncio.to_thread(self._append, msgspec.json.encode(asdict(mail)) + b"\n")

    def _append(self, line: bytes) -> None:
        with os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as file:
            file.write(line)


class SmtpMailer:
    """`smtp://user:password@host:587` (STARTTLS, always) or `smtps://…:465`, with the system's trusted certificates."""

    def __init__(self, url: str, sender: str) -> None:
        self._url = urlsplit(url)
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._sender, mail.to, mail.subject
        message.set_content(mail.text)
        try:
            await asyncio.to_thread(self._deliver, message)
        except smtplib.SMTPRecipientsRefused as error:
            [(code, _)] = error.recipients.values()
            raise (MailRefused if code >= _PERMANENT else MailNotSent)(f"SMTP {code}") from error
        except (smtplib.SMTPException, OSError) as error:
            raise MailNotSent(type(error).__name__) from error

    def _deliver(self, message: EmailMessage) -> None:
        tls = ssl.create_default_context()
        host, port = self._url.hostname or "", self._url.port
        with (
            smtplib.SMTP_SSL(host, port or 465, timeout=SMTP_TIMEOUT_S, context=tls)
            if self._url.scheme == "smtps"
            else smtplib.SMTP(host, port or 587, timeout=SMTP_TIMEOUT_S)
        ) as server:
            if self._url.scheme == "smtp":
                server.starttls(context=tls)
            if self._url.username is not None:
                server.login(unquote(self._url.username), unquote(self._url.password or ""))
            server.send_message(message)


def mailer_of(url: str, sender: str) -> Mailer:
    """By the URL's scheme: smtp, smtps or file."""
    return FileMailer(Path(urlsplit(url).path)) if url.startswith("file:") else SmtpMailer(url, sender)
