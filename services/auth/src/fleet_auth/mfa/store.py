"""The tables of second factors."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from fleet_bus import Transaction

from fleet_auth.sealing import TOTP_SECRET, Sealer
from fleet_auth.store import purge

from .domain import Totp


class SecondFactors:
    """One transaction of libs/bus seen as these tables."""

    def __init__(self, tx: Transaction, sealer: Sealer) -> None:
        self.now: datetime = tx.now
        self._connection = tx.connection
        self._sealer = sealer

    async def locked(self, user_id: UUID) -> Totp | None:
        """Locked, so that of codes tried at once each sees what the one before has done."""
        row = await self._connection.fetchrow(
            """
            SELECT secret, confirmed_at, last_step, failures, blocked_until FROM totp WHERE user_id = $1 FOR UPDATE
            """,
            user_id,
        )
        if row is None:
            return None
        return Totp(
            user_id=user_id,
            secret=self._sealer.unseal(row["secret"], TOTP_SECRET.place(user_id)).decode(),
            is_confirmed=row["confirmed_at"] is not None,
            last_step=row["last_step"],
            failures=row["failures"],
            blocked_until=row["blocked_until"],
        )

    async def begin(self, user_id: UUID, secret: str) -> bool:
        """In the place of one that was never confirmed; False if one is."""
        return bool(
            await self._connection.fetchval(
                """
                INSERT INTO totp AS t (user_id, secret) VALUES ($1, $2)
                ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret WHERE t.confirmed_at IS NULL
                RETURNING true
                """,
                user_id,
                self._sealer.seal(secret.encode(), TOTP_SECRET.place(user_id)),
            )
        )

    async def confirm(self, user_id: UUID, code_hashes: Iterable[bytes]) -> None:
        await self._connection.execute("UPDATE totp SET confirmed_at = $2 WHERE user_id = $1", user_id, self.now)
        await self.set_recovery_codes(user_id, code_hashes)

    async def set_recovery_codes(self, user_id: UUID, code_hashes: Iterable[bytes]) -> None:
        """In the place of those there were."""
        await self._connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)
        await self._connection.executemany(
            "INSERT INTO recovery_codes (user_id, code_hash) VALUES ($1, $2)",
            [(user_id, code_hash) for code_hash in code_hashes],
        )

    async def use_step(self, user_id: UUID, step: int) -> None:
        await self._connection.execute(
            "UPDATE totp SET last_step = $2, failures = 0, blocked_until = NULL WHERE user_id = $1", user_id, step
        )

    async def use_recovery_code(self, user_id: UUID, code_hash: bytes) -> bool:
        """False if there is no such code (any more)."""
        is_used = await self._connection.fetchval(
            "DELETE FROM recovery_codes WHERE user_id = $1 AND code_hash = $2 RETURNING true", user_id, code_hash
        )
        if is_used:
            await self._connection.execute(
                "UPDATE totp SET failures = 0, blocked_until = NULL WHERE user_id = $1", user_id
            )
        return bool(is_used)

    async def recovery_codes_left(self, user_id: UUID) -> int:
        left: int = await self._connection.fetchval("SELECT count(*) FROM recovery_codes WHERE user_id = $1", user_id)
        return left

    async def count_failure(self, user_id: UUID, failures: int, blocked_until: datetime | None) -> None:
        await self._connection.execute(
            "UPDATE totp SET failures = $2, blocked_until = $3 WHERE user_id = $1", user_id, failures, blocked_until
        )

    async def remove(self, user_id: UUID) -> None:
        """With its recovery codes; no session counts as one with a second factor any more."""
        await self._connection.execute("DELETE FROM totp WHERE user_id = $1", user_id)
        await self._connection.execute("UPDATE sessions SET mfa_at = NULL WHERE user_id = $1", user_id)

    async def note_shown(self, session_id: UUID) -> None:
        await self._connection.execute("UPDATE sessions SET mfa_at = $2 WHERE session_id = $1", session_id, self.now)

    async def add_challenge(self, token_hash: bytes, user_id: UUID, expires_at: datetime) -> None:
        await purge(self._connection, "mfa_challenges", "token_hash", "expires_at", self.now)
        await self._connection.execute(
            "INSERT INTO mfa_challenges (token_hash, user_id, expires_at) VALUES ($1, $2, $3)",
            token_hash,
            user_id,
            expires_at,
        )

    async def challenged(self, token_hash: bytes) -> UUID | None:
        """Whose login waits for a code; None if it waits no more."""
        found: UUID | None = await self._connection.fetchval(
            "SELECT user_id FROM mfa_challenges WHERE token_hash = $1 AND expires_at > $2", token_hash, self.now
        )
        return found

    async def end_challenge(self, token_hash: bytes) -> bool:
        """False if it was ended before."""
        ended = await self._connection.fetchval(
            "DELETE FROM mfa_challenges WHERE token_hash = $1 RETURNING true", token_hash
        )
        return bool(ended)
