"""The tables `failures` and `known_addresses`."""

import hashlib
from datetime import timedelta

from fleet_bus import Transaction

from fleet_auth.store import purge

from .domain import Budget, Failures

Counted = tuple[str, Budget]
"""What an attempt is counted under, and how often it may fail there."""


class Attempts:
    """In one transaction. Keys are kept as hashes: attempts at unknown accounts are nobody's data."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._connection = tx.connection

    async def one_more(self, *counted: Counted) -> timedelta | None:
        """Counts an attempt under each key, or under none if it is not taken: then, how long to wait."""
        found = [(key, budget, await self._locked(key)) for key, budget in counted]
        waits = [wait for _, _, failures in found if (wait := failures.wait(self._tx.now)) is not None]
        if waits:
            return max(waits)
        for key, budget, failures in found:
            await self._keep(key, failures.one_more(self._tx.now, budget))
        # Last, so that nothing is waited for while others' rows are held.
        await purge(self._connection, "failures", "key_hash", "forgotten_at", self._tx.now)
        return None

    async def one_less(self, *counted: Counted) -> None:
        """What was counted has succeeded."""
        for key, budget in counted:
            await self._keep(key, (await self._locked(key)).one_less(budget))

    async def clear(self, key: str) -> None:
        await self._connection.execute("DELETE FROM failures WHERE key_hash = $1", _hash(key))

    async def is_known(self, email: str, address: str) -> bool:
        """Whether the account's owner was there, and that is not too long ago."""
        return bool(
            await self._connection.fetchval(
                "SELECT true FROM known_addresses WHERE account_hash = $1 AND address_hash = $2 AND known_until > $3",
                _hash(email),
                _hash(address),
                self._tx.now,
            )
        )

    async def know(self, email: str, address: str, known_for: timedelta) -> None:
        await self._connection.execute(
            """
            INSERT INTO known_addresses (account_hash, address_hash, known_until) VALUES ($1, $2, $3)
            ON CONFLICT (account_hash, address_hash) DO UPDATE SET known_until = excluded.known_until
            """,
            _hash(email),
            _hash(address),
            self._tx.now + known_for,
        )
        await purge(self._connection, "known_addresses", "account_hash, address_hash", "known_until", self._tx.now)

    async def forget_addresses(self, email: str) -> None:
        await self._connection.execute("DELETE FROM known_addresses WHERE account_hash = $1", _hash(email))

    async def _locked(self, key: str) -> Failures:
        row = await self._connection.fetchrow(
            """
            INSERT INTO failures (key_hash, forgotten_at) VALUES ($1, $2)
            ON CONFLICT (key_hash) DO UPDATE SET key_hash = excluded.key_hash
            RETURNING forgotten_at, blocked_until
            """,
            _hash(key),
            self._tx.now,
        )
        assert row is not None
        return Failures(row["forgotten_at"], row["blocked_until"])

    async def _keep(self, key: str, failures: Failures) -> None:
        await self._connection.execute(
            "UPDATE failures SET forgotten_at = $2, blocked_until = $3 WHERE key_hash = $1",
            _hash(key),
            failures.forgotten_at,
            failures.blocked_until,
        )


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
