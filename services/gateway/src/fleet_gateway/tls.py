"""TLS at the gateway itself, where certificates are configured; else it is the business of who stands before it."""

import asyncio
import ssl
from hashlib import sha256
from pathlib import Path

from fleet_chassis.logging import get_logger

log = get_logger(__name__)


class Certificate:
    """The chain and key that whoever connects is shown. Files that are renewed are taken up while the gateway runs, where
    both fit together; connections that stand go on with what they began with.

    Raises OSError (ssl.SSLError is one) if the first ones do not fit."""

    def __init__(self, chain: Path, key: Path | None, *, look_every_s: float) -> None:
        self._chain = chain
        self._key = key
        self._look_every_s = look_every_s
        self._seen = self._fingerprint()
        self._is_refused = False
        self.context = self._loaded()
        # Another chain loaded into a context that is in use would leave it without a key where the two do not fit.
        self._shown = self.context
        self.context.sni_callback = self._show

    def readiness(self) -> str | None:
        """None, or that the files have changed to something that cannot be shown."""
        return "degraded: the certificate's files do not fit, the one before is shown" if self._is_refused else None

    async def run(self) -> None:
        """Looks at the files now and then."""
        while True:
            await asyncio.sleep(self._look_every_s)
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        told = self._fingerprint()
        if told == self._seen:
            return
        self._seen = told
        try:
            self._shown = self._loaded()
        except OSError as error:
            # Of two files that are written one after the other the second is seen next time.
            self._is_refused = True
            log.error("certificate_not_taken", file=str(self._chain), error=str(error))
        else:
            self._is_refused = False
            log.info("certificate_renewed", file=str(self._chain))

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # Without a password OpenSSL would ask the terminal for that of an encrypted key.
        context.load_cert_chain(self._chain, self._key, password="")
        return context

    def _show(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Is called at every handshake, whether or not the client names a server."""
        connection.context = self._shown

    def _fingerprint(self) -> bytes | None:
        """Of what the files hold, however they were put there; None while they cannot be read."""
        try:
            return sha256(b"".join(file.read_bytes() for file in (self._chain, self._key) if file is not None)).digest()
        except OSError:
            return None
