"""Mail: by SMTP, or on the local stack into a file that `fleet mail` shows."""

import asyncio
import os
import ssl
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib
import msgspec

SMTP_TIMEOUT_S = 4.0
"""For all of it: a mail is sent inside a transaction, which the database ends when it idles for 5 s. One that is taken
later would be sent again and again."""


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

    def __init__(self, url: str, sender: str, *, timeout_s: float = SMTP_TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("a mail URL is smtp[s]://user:password@host:port, or file:/path")
        has_tls_first = parts.scheme == "smtps"
        self._server: dict[str, Any] = {
            "hostname": parts.hostname,
            "port": parts.port or (465 if has_tls_first else 587),
            "username": None if parts.username is None else unquote(parts.username),
            "password": None if parts.password is None else unquote(parts.password),
            "use_tls": has_tls_first,
            "start_tls": not has_tls_first,
        }
        self._sender = sender
        self._timeout_s = timeout_s

    async def send(self, mail: Mail) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._sender, mail.to, mail.subject
        message.set_content(mail.text)
        try:
            async with asyncio.timeout(self._timeout_s):
                await aiosmtplib.send(message, **self._server, tls_context=ssl.create_default_context())
        except aiosmtplib.SMTPRecipientsRefused as error:
            [refused] = error.recipients
            raise (MailRefused if refused.code >= _PERMANENT else MailNotSent)(f"SMTP {refused.code}") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise MailNotSent(type(error).__name__) from error


def mailer_of(url: str, sender: str) -> Mailer:
    """By the URL's scheme: smtp, smtps or file. Raises ValueError, without what the URL says."""
    return FileMailer(Path(urlsplit(url).path)) if url.startswith("file:") else SmtpMailer(url, sender)
