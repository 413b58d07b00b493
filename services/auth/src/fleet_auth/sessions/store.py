"""Sessions as their owner sees them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from fleet_auth.store import LIVING


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenSession:
    """`address` (of IPv6 the /64) and `user_agent` are those it began with."""

    session_id: UUID
    created_at: datetime
    last_used_at: datetime
    address: str | None
    user_agent: str | None


async def seen_sessions(connection: asyncpg.Connection, user_id: UUID, now: datetime) -> list[SeenSession]:
    """Those of the user that are alive, the newest first."""
    rows = await connection.fetch(
        f"""
        SELECT s.session_id, s.created_at, coalesce(s.last_used_at, s.created_at) AS last_used_at, s.address, s.user_agent
        FROM sessions s WHERE {LIVING} ORDER BY s.session_id DESC
        """,  # noqa: S608
        user_id,
        now,
    )
    return [SeenSession(**row) for row in rows]
