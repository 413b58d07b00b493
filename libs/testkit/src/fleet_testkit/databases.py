"""Fresh databases with the real migrations, copied from a template so that each takes a tenth of a second."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from fleet_chassis.migrations import migrate
from fleet_launcher.databases import ROLE_SETTINGS, quoted
from fleet_launcher.services import service

ROLE = "fleet_tests"
_PASSWORD = "fleet_tests"  # noqa: S105 - a stack on 127.0.0.1 that holds nothing but what tests made
_LOCK = 0x666C656574  # one builder of templates at a time


async def waiting_for_locks(connection: asyncpg.Connection) -> list[int]:
    """The processes of the server that wait for a lock in the connection's database: none of another test's beside."""
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return [row["pid"] for row in await connection.fetch(waiting)]


class TestDatabases:
    """Makes databases on one server and drops them again."""

    __test__ = False

    def __init__(self, superuser_url: str) -> None:
        self._superuser_url = superuser_url
        self._made: list[str] = []

    async def make(self, migrations: str | Sequence[Path]) -> str:
        """The URL of a new database for that service, or with those folders of migrations applied in order."""
        folders = service(migrations).migration_folders() if isinstance(migrations, str) else list(migrations)
        connection = await asyncpg.connect(self._superuser_url)
        try:
            template = await self._template(connection, folders)
            name = f"test_{secrets.token_hex(6)}"
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {ROLE} STRATEGY FILE_COPY")
        finally:
            await connection.close()
        self._made.append(name)
        return self._url(name)

    async def drop_all(self) -> None:
        """Drop what `make` made, also when a test left connections open."""
        if not self._made:
            return
        connection = await asyncpg.connect(self._superuser_url)
        try:
            while self._made:
                await connection.execute(f"DROP DATABASE {self._made.pop()} WITH (FORCE)")
        finally:
            await connection.close()

    def _url(self, database: str) -> str:
        parts = urlsplit(self._superuser_url)
        place = f"{ROLE}:{_PASSWORD}@{parts.hostname}:{parts.port}"
        return urlunsplit(("postgresql", place, f"/{database}", "", ""))

    async def _template(self, connection: asyncpg.Connection, folders: Sequence[Path]) -> str:
        """The database with these migrations, made if their content is new on this server."""
        name = f"template_{_digest(folders)}"
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        try:
            if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                return name
            await self._ensure_role(connection)
            building = f"building_{secrets.token_hex(6)}"
            await connection.execute(f"CREATE DATABASE {building} OWNER {ROLE} STRATEGY FILE_COPY")
            await migrate(self._url(building), folders)
            await connection.execute(f"ALTER DATABASE {building} RENAME TO {name}")
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
        return name

    async def _ensure_role(self, connection: asyncpg.Connection) -> None:
        if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", ROLE):
            await connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{_PASSWORD}'")
        for setting, value in ROLE_SETTINGS.items():
            await connection.execute(f"ALTER ROLE {quoted(ROLE)} SET {setting} = '{value}'")


def _digest(folders: Sequence[Path]) -> str:
    content = hashlib.sha256()
    for folder in folders:
        for file in sorted(folder.glob("*.sql")):
            content.update(f"{folder}/{file.name}\0".encode() + file.read_bytes())
    return content.hexdigest()[:16]
