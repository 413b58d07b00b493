"""Applies migrations written as plain SQL files, `NNNN_<what>.sql`, each file once and in a transaction of its own.

Alembic orders them and writes its version table; it writes SQL (its offline mode), and the raw asyncpg connection runs
it: one file may hold many statements, and no second driver is needed. A folder is a chain with a version table of its
own, `alembic_version_<owner>`, where the owner is the folder's parent (`bus`, `trading`). Which content was applied is
kept in `migration_files`; an applied file that was changed, removed, or overtaken by one inserted before it is refused.

    echo '{"trading": {"url": "postgresql://…", "folders": ["…/fleet_bus/migrations", "…/trading/migrations"]}}' \\
        | python -m fleet_chassis.migrations
"""

import asyncio
import hashlib
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import asyncpg
import msgspec

LOCK_KEY = 0x666C656574
LOCK_TIMEOUT_S = 60
"""Another process that migrates the same database is waited for this long."""
CONNECT_TIMEOUT_S = 10.0
CONCURRENT_DATABASES = 4

# A migration takes the time it needs; but it does not stand in the way of the living service while it waits for a lock.
_SERVER_SETTINGS = {
    "application_name": "migrations",
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "5s",
}
_FILE_NAME = re.compile(r"\d{4}_[a-z0-9_]+\.sql")
_MAX_REVISION = 32  # the width of Alembic's version column
_TRANSACTION_CONTROL = re.compile(r"^\s*(begin|start\s+transaction|commit|rollback)\s*;", re.IGNORECASE | re.MULTILINE)


class MigrationRefused(Exception):
    """The files and the database do not fit together; the message says which file and why."""


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A database and the folders to apply to it, in this order."""

    url: str
    folders: list[str]


@dataclass(frozen=True)
class _File:
    revision: str
    sql: str
    sha256: str


@dataclass(frozen=True)
class _Chain:
    name: str
    files: Sequence[_File]

    @property
    def version_table(self) -> str:
        return f"alembic_version_{self.name}"


async def migrate(url: str, folders: Iterable[Path]) -> list[str]:
    """Brings one database up to date; the answer names the revisions that were applied now.

    Raises MigrationRefused, or the error of the statement that failed, with nothing of that file applied.
    """
    chains = [_read(folder) for folder in folders]
    connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, server_settings=_SERVER_SETTINGS)
    try:
        await _lock(connection)
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS migration_files (chain text NOT NULL, revision text NOT NULL,"
            " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (chain, revision))"
        )
        return [revision for chain in chains for revision in await _apply(connection, chain)]
    finally:
        await connection.close()


async def migrate_all(targets: Mapping[str, Target]) -> dict[str, list[str] | Exception]:
    """Brings several databases up to date, some at a time; each answer is the applied revisions or what went wrong."""
    slots = asyncio.Semaphore(CONCURRENT_DATABASES)

    async def one(target: Target) -> list[str] | Exception:
        async with slots:
            try:
                return await migrate(target.url, [Path(folder) for folder in target.folders])
            except (MigrationRefused, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                return error

    return dict(zip(targets, await asyncio.gather(*(one(target) for target in targets.values())), strict=True))


def _read(folder: Path) -> _Chain:
    if not folder.is_dir():
        raise MigrationRefused(f"there is no folder {folder}")
    files: list[_File] = []
    for path in sorted(folder.glob("*.sql")):
        if not _FILE_NAME.fullmatch(path.name):
            raise MigrationRefused(f"a migration is named NNNN_<what>.sql in small letters, was {path.name}")
        if len(path.stem) > _MAX_REVISION:
            raise MigrationRefused(f"a migration's name has {_MAX_REVISION} characters at most, was {path.stem}")
        if files and files[-1].revision[:4] == path.stem[:4]:
            raise MigrationRefused(f"two migrations have the number {path.stem[:4]}: {files[-1].revision}, {path.stem}")
        content = path.read_bytes()
        sql = content.decode("utf-8")
        if _TRANSACTION_CONTROL.search(sql):
            raise MigrationRefused(f"{path.name}: a file is one transaction; it must not begin or end one itself")
        files.append(_File(path.stem, sql, hashlib.sha256(content).hexdigest()))
    owner = folder.resolve().parent.name.removeprefix("fleet_")
    return _Chain(re.sub(r"[^a-z0-9]", "_", owner.lower()), files)


async def _lock(connection: asyncpg.Connection) -> None:
    try:
        await connection.execute(f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
        await connection.execute(f"SELECT pg_advisory_lock({LOCK_KEY})")
    except asyncpg.LockNotAvailableError as error:
        raise MigrationRefused(f"another process has been migrating this for {LOCK_TIMEOUT_S} s") from error
    await connection.execute("RESET lock_timeout")


async def _apply(connection: asyncpg.Connection, chain: _Chain) -> list[str]:
    head = await _head(connection, chain)
    pending = _pending(chain, await _applied(connection, chain), head)
    for previous, file in pending:
        async with connection.transaction():
            await connection.execute(_script(chain, previous, file))
            await connection.execute(
                "INSERT INTO migration_files (chain, revision, sha256) VALUES ($1, $2, $3)",
                chain.name,
                file.revision,
                file.sha256,
            )
    return [file.revision for _, file in pending]


async def _head(connection: asyncpg.Connection, chain: _Chain) -> str | None:
    if await connection.fetchval("SELECT to_regclass($1)", chain.version_table) is None:
        return None
    # The name is made of letters, digits and underscores above.
    head: str | None = await connection.fetchval(f"SELECT version_num FROM {chain.version_table}")  # noqa: S608
    return head


async def _applied(connection: asyncpg.Connection, chain: _Chain) -> dict[str, str]:
    rows = await connection.fetch("SELECT revision, sha256 FROM migration_files WHERE chain = $1", chain.name)
    return {row["revision"]: row["sha256"] for row in rows}


def _pending(chain: _Chain, applied: Mapping[str, str], head: str | None) -> list[tuple[str | None, _File]]:
    """The files to apply, each with the revision before it."""
    known = {file.revision for file in chain.files}
    for revision in sorted(applied):
        if revision not in known:
            raise MigrationRefused(f"{chain.name}: {revision} was applied here, and its file is gone")
    pending = []
    previous: str | None = None
    for file in chain.files:
        if file.revision in applied:
            if applied[file.revision] != file.sha256:
                raise MigrationRefused(
                    f"{chain.name}: {file.revision} was changed after it was applied; write a new file instead"
                )
        elif head is not None and file.revision < head:
            raise MigrationRefused(f"{chain.name}: {file.revision} comes before {head}, which was applied already")
        else:
            pending.append((previous, file))
        previous = file.revision
    return pending


def _script(chain: _Chain, previous: str | None, file: _File) -> str:
    """The SQL of one step: the file, and Alembic's statements for its version table."""
    from alembic.runtime.migration import MigrationContext, MigrationStep
    from alembic.script import Script
    from alembic.script.revision import Revision, RevisionMap

    output = io.StringIO()

    revisions = RevisionMap(
        lambda: [Revision(file.revision, previous), *([Revision(previous, None)] if previous else [])]
    )

    def steps(_heads: Any, _context: MigrationContext) -> list[MigrationStep]:
        script = cast(Script, revisions.get_revision(file.revision))
        script.module = cast(ModuleType, SimpleNamespace(upgrade=lambda: context.impl.static_output(f"{file.sql}\n;")))
        return [MigrationStep.upgrade_from_script(revisions, script)]

    context = MigrationContext.configure(
        dialect_name="postgresql",
        opts={
            "as_sql": True,
            "output_buffer": output,
            "starting_rev": previous,
            "version_table": chain.version_table,
            # We open the transaction, so that our checksum is in it too.
            "transactional_ddl": False,
            "fn": steps,
        },
    )
    context.run_migrations()
    return output.getvalue()


def main() -> int:
    """Reads the databases from standard input; prints what was applied, and on standard error what went wrong."""
    try:
        targets = msgspec.json.decode(sys.stdin.buffer.read(), type=dict[str, Target])
    except msgspec.DecodeError as error:
        print(f"the databases to migrate are expected as JSON on standard input: {error}", file=sys.stderr)  # noqa: T201
        return 2
    results = asyncio.run(migrate_all(targets))
    failed = {name: error for name, error in results.items() if isinstance(error, Exception)}
    for name, failure in failed.items():
        print(f"{name}: {type(failure).__name__}: {failure}", file=sys.stderr)  # noqa: T201
    print(json.dumps({name: result for name, result in results.items() if name not in failed}))  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
