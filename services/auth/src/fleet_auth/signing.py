"""The keys that sign access tokens: made at first start, rotated by age and by `fleet auth rotate-keys`, sealed in the
database. A retired key verifies until the last token that it signed has ended."""

import asyncio
import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database, is_down
from fleet_chassis.logging import get_logger

from .audit.store import AuditLog
from .sealing import SIGNING_KEY, CannotUnseal, Sealer

LOOK_EVERY_S = 5.0
"""Another replica, or an operator, may have rotated them."""
MARGIN = timedelta(seconds=60)
"""A replica signs with a retired key until it looks again; a gateway whose clock is behind takes a token for alive."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The key that signs, since when, and the public keys of all that may have signed what is still alive."""

    kid: str
    private_key: Ed25519PrivateKey
    made_at: datetime
    jwks: Sequence[dict[str, str]]


class KeyRing:
    """The keys as they stand; `load` before use, then `run` looks again and rotates the one that signs when it is old."""

    def __init__(
        self, database: Database, sealer: Sealer, clock: Clock, *, rotate_after: timedelta, tokens_live: timedelta
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._rotate_after = rotate_after
        self._keep_retired = tokens_live + MARGIN
        self.current: SigningKeys

    async def load(self) -> None:
        """The keys in the database; a new one signs, if none does or it is too old."""
        now = self._clock.now()
        async with self._database.transaction() as connection:
            found = await self._read(connection, now)
            if not self._may_sign(found, now):
                # Replicas agree on one key: who comes second finds that of the first.
                await lock_signing_keys(connection)
                found = await self._read(connection, now)
                if not self._may_sign(found, now):
                    kid = await add_signing_key(connection, self._sealer, now, by="auth")
                    log.info("signing_key_made", kid=kid)
                    found = await self._read(connection, now)
        assert found is not None
        self.current = found

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.load()
            except Exception as error:
                if not is_down(error):
                    raise
                log.warning("signing_keys_not_read", error=type(error).__name__)

    def _may_sign(self, keys: SigningKeys | None, now: datetime) -> bool:
        return keys is not None and now < keys.made_at + self._rotate_after

    async def _read(self, connection: asyncpg.Connection, now: datetime) -> SigningKeys | None:
        rows = await connection.fetch(
            """
            SELECT kid, public_key, encrypted_private_key, created_at, retired_at FROM signing_keys
            WHERE retired_at IS NULL OR retired_at > $1
            ORDER BY retired_at DESC NULLS FIRST, created_at DESC, kid
            """,
            now - self._keep_retired,
        )
        jwks = [_jwk(row["kid"], row["public_key"]) for row in rows]
        for row in rows:
            if row["retired_at"] is None:
                try:
                    secret = self._sealer.unseal(row["encrypted_private_key"], SIGNING_KEY.place(row["kid"]))
                except CannotUnseal:
                    # The file of the field keys was lost; the public half still verifies what is out.
                    log.warning("signing_key_cannot_be_unsealed", kid=row["kid"])
                else:
                    key = Ed25519PrivateKey.from_private_bytes(secret)
                    return SigningKeys(row["kid"], key, row["created_at"], jwks)
        return None


async def lock_signing_keys(connection: asyncpg.Connection) -> None:
    await connection.execute("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")


async def add_signing_key(connection: asyncpg.Connection, sealer: Sealer, now: datetime, *, by: str) -> str:
    """A new key, which signs from now on; those before only verify. Its kid. The caller holds the lock."""
    private_key = Ed25519PrivateKey.generate()
    public_key = private_key.public_key().public_bytes_raw()
    kid = hashlib.sha256(public_key).hexdigest()[:16]
    await connection.execute("UPDATE signing_keys SET retired_at = $1 WHERE retired_at IS NULL", now)
    await connection.execute(
        "INSERT INTO signing_keys (kid, public_key, encrypted_private_key, created_at) VALUES ($1, $2, $3, $4)",
        kid,
        public_key,
        sealer.seal(private_key.private_bytes_raw(), SIGNING_KEY.place(kid)),
        now,
    )
    await AuditLog(connection, now).note("signing_key.made", kid, actor=by)
    return kid


def _jwk(kid: str, public_key: bytes) -> dict[str, str]:
    x = base64.urlsafe_b64encode(public_key).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x}
