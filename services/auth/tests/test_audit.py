"""The audit log: what is kept of acts, who sees it, and that nobody changes it unnoticed."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fleet_auth.admin import verify_audit
from fleet_auth.audit.domain import NOTHING_BEFORE, Digest
from fleet_auth.audit.service import sign_days, verify
from fleet_auth.audit.store import AuditLog, all_entries
from fleet_auth.sealing import own_key
from fleet_auth.settings import AuthSettings
from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_contracts.audit import AdminActed, Change
from fleet_contracts.topics import CORE_ENGINE_AUDIT
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import MakeDatabase
from fleet_testkit.peers import BUS_MIGRATIONS, Process

Breaking = Callable[[asyncpg.Connection], Awaitable[object]]
ADMIN: dict[str, Any] = {
    "sub": str(uuid4()),
    "sid": str(uuid4()),
    "roles": ["admin"],
    "scopes": ["read", "admin", "audit"],
}
COMPLIANCE: dict[str, Any] = {
    "sub": str(uuid4()),
    "sid": str(uuid4()),
    "roles": ["compliance"],
    "scopes": ["read", "audit"],
}
TRADER: dict[str, Any] = {"sub": str(uuid4()), "sid": str(uuid4()), "roles": ["trader"], "scopes": ["read", "trade"]}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def audit_database(auth_settings: AuthSettings, auth: Any) -> AsyncIterator[Database]:
    async with Database(auth_settings.database_url, application_name="test", max_size=2) as database:
        yield database


async def acts(auth: Any, by: dict[str, Any] = COMPLIANCE, **filters: str) -> Any:
    query = "&".join(f"{name}={value}" for name, value in filters.items())
    return await auth.call("GET", f"/audit?{query}", user=by, prefix="/api/v1")


async def changed_user(auth: Any, **change: Any) -> str:
    user: str = (await auth.registered())["user_id"]
    headers = {"X-Client-Address": "2001:db8::/64"}
    reply = await auth.call("PATCH", f"/users/{user}", json=change, user=ADMIN, headers=headers, prefix="/api/v1")
    assert reply.status == 200
    return user


async def test_acts_are_shown_to_who_may_see_them(auth: Any) -> None:
    users = [await changed_user(auth, roles=["viewer"], status="disabled") for _ in range(2)]
    shown = (await acts(auth, actor=ADMIN["sub"])).body["data"]
    assert [(one["target"], one["action"]) for one in shown] == [(user, "user.changed") for user in users[::-1]]
    assert shown[0]["changes"] == [
        {"name": "roles", "before": "trader", "after": "viewer"},
        {"name": "status", "before": "active", "after": "disabled"},
    ]
    assert shown[0]["request_id"] and (shown[0]["service"], shown[0]["address"]) == ("auth", "2001:db8::/64")
    first = await acts(auth, actor=ADMIN["sub"], limit="1")
    rest = await acts(auth, actor=ADMIN["sub"], cursor=first.body["next_cursor"])
    assert first.body["data"] + rest.body["data"] == shown
    assert (await acts(auth, target=users[0])).body["data"] == shown[1:]
    (made,) = (await acts(auth, action="signing_key.made", service="auth")).body["data"]
    assert (made["number"], made["actor"], made["address"]) == (1, "auth", None)
    assert (await acts(auth, TRADER)).status == 403


async def test_what_others_did_is_kept_once(
    auth: Any, auth_settings: AuthSettings, audit_database: Database, make_database: MakeDatabase
) -> None:
    target = secrets.token_hex(4)
    acted = AdminActed(
        actor="cli:ada",
        action="trading_state.changed",
        target=target,
        changes=(Change(name="state", before="active", after="halted"),),
        reason="a test",
        request_id=None,
        at=datetime(2026, 1, 5, tzinfo=UTC),
    )
    process = Process("core-engine", auth_settings.kafka_url, auth_settings.topic_prefix)
    async with Database(await make_database([BUS_MIGRATIONS]), application_name="test", max_size=3) as database:
        bus = Bus(process, database)
        async with bus.running(Health()), bus.transaction() as tx:
            tx.publish(CORE_ENGINE_AUDIT, target, acted)
    (shown,) = await eventually(lambda: _of(auth, target), timeout_s=20)
    assert (shown["service"], shown["actor"], shown["reason"]) == ("core-engine", "cli:ada", "a test")
    async with audit_database.transaction() as connection:
        again = AuditLog(connection, auth.clock.now())
        await again.add(acted, service="core-engine", event_id=shown["event_id"])
    assert await _of(auth, target) == [shown]


async def test_rows_are_neither_changed_nor_deleted(audit_database: Database) -> None:
    for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        async with audit_database.connection() as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await connection.execute(statement)


async def test_each_day_is_signed_after_midnight(auth: Any, audit_database: Database) -> None:
    """a day with acts → midnight → a digest; three days without → one for each, that adds nothing"""
    await changed_user(auth, roles=["viewer"])
    signed = auth.clock.now().date()
    auth.clock.set(datetime.combine(signed, datetime.min.time(), UTC) + timedelta(days=1, seconds=1))
    await eventually(lambda: _has_days(audit_database, [signed]), timeout_s=20)
    await changed_user(auth, roles=["viewer"])
    auth.clock.advance(timedelta(days=3))
    days = [signed + timedelta(days=n) for n in range(4)]
    await eventually(lambda: _has_days(audit_database, days), timeout_s=20)
    await changed_user(auth, roles=["viewer"])


async def _swap(connection: asyncpg.Connection) -> None:
    """Gives two digests each other's signature."""
    one, other = await connection.fetch("SELECT day, token FROM audit_digests ORDER BY day LIMIT 2")
    for day, token in ((one["day"], other["token"]), (other["day"], one["token"])):
        await connection.execute("UPDATE audit_digests SET token = $2 WHERE day = $1", day, token)


async def _write_anew(connection: asyncpg.Connection) -> None:
    """Changes an entry and chains all that follow to it, as auth would."""
    await connection.execute("UPDATE audit_log SET actor = 'nobody' WHERE number = 2")
    previous = NOTHING_BEFORE
    async for kept in all_entries(connection):
        previous = kept.entry.hash_after(previous)
        await connection.execute("UPDATE audit_log SET hash = $2 WHERE number = $1", kept.entry.number, previous)


async def _write_one_anew(connection: asyncpg.Connection) -> None:
    """Changes an entry and its hash; those that follow are as they were."""
    await connection.execute("UPDATE audit_log SET actor = 'nobody' WHERE number = 2")
    first, second = [kept async for kept in all_entries(connection)][:2]
    await connection.execute("UPDATE audit_log SET hash = $1 WHERE number = 2", second.entry.hash_after(first.hash))


async def _forge(connection: asyncpg.Connection) -> None:
    """Writes it all anew and signs it with another key."""
    await _write_anew(connection)
    last_hash = await connection.fetchval("SELECT encode(hash, 'hex') FROM audit_log WHERE number = 3")
    day = await connection.fetchval("SELECT min(day) FROM audit_digests")
    now = datetime.now(UTC)
    digest = Digest(day=day, last_number=3, last_hash=last_hash, entries=3, signed_at=now)
    token = digest.sign(Ed25519PrivateKey.generate())
    await connection.execute("UPDATE audit_digests SET token = $2 WHERE day = $1", day, token)


def _sql(statement: str) -> Breaking:
    return lambda connection: connection.execute(statement)


@pytest.mark.parametrize(
    ("breaking", "problem"),
    [
        (_sql("UPDATE audit_log SET reason = 'none' WHERE number = 2"), "entry 2 is not as it was recorded"),
        (
            _sql("UPDATE audit_log SET changes = jsonb_set(changes, '{0,after}', '\"admin\"') WHERE number = 3"),
            "entry 3 is not as it was recorded",
        ),
        (_sql("UPDATE audit_log SET address = '192.0.2.1' WHERE number = 2"), "entry 2 is not as it was recorded"),
        (_sql("DELETE FROM audit_log WHERE number = 2"), "entry 2 is missing"),
        (_sql("DELETE FROM audit_log WHERE number > 2"), "entries 1 to "),
        (_sql("DELETE FROM audit_digests WHERE day = (SELECT max(day) FROM audit_digests)"), "is missing"),
        (_swap, "is not one that auth has signed for that day"),
        (_write_one_anew, "entry 3 is not as it was recorded"),
        (_write_anew, "are not those that were signed for"),
        (_forge, "is not one that auth has signed for that day"),
    ],
)
async def test_what_was_changed_is_found(
    auth: Any, auth_settings: AuthSettings, audit_database: Database, breaking: Breaking, problem: str
) -> None:
    key, now = own_key(auth_settings.private_key_file).public_key(), auth.clock.now() + timedelta(hours=2)
    async with _undone(audit_database) as connection:
        assert (await verify(connection, key, now)).problems == []
        await connection.execute("ALTER TABLE audit_log DISABLE TRIGGER USER")
        await connection.execute("ALTER TABLE audit_digests DISABLE TRIGGER USER")
        await breaking(connection)
        found = (await verify(connection, key, now)).problems
        assert problem in found[0], found


async def test_days_that_were_signed_anew_are_told(
    auth: Any, auth_settings: AuthSettings, audit_database: Database
) -> None:
    """The end of the log is taken away with its digests, and auth signs what is missing: it holds, and the days show it."""
    key, now = own_key(auth_settings.private_key_file), auth.clock.now() + timedelta(hours=2)
    async with _undone(audit_database) as connection:
        first = str(await connection.fetchval("SELECT min(day) FROM audit_digests"))
        assert first not in (await verify(connection, key.public_key(), now)).signed_late
        for table, rows in (("audit_log", "number > 2"), ("audit_digests", "true")):
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER; DELETE FROM {table} WHERE {rows}")
        await sign_days(AuditLog(connection, now), key)
        verdict = await verify(connection, key.public_key(), now)
        assert (verdict.problems, first in verdict.signed_late) == ([], True)


async def test_a_clock_that_was_ahead_is_found(
    auth: Any, auth_settings: AuthSettings, audit_database: Database
) -> None:
    key, now = own_key(auth_settings.private_key_file), auth.clock.now() + timedelta(hours=2)
    async with _undone(audit_database) as connection:
        await sign_days(AuditLog(connection, now + timedelta(days=9)), key)
        assert await sign_days(AuditLog(connection, now + timedelta(days=1)), key) == []
        (problem,) = (await verify(connection, key.public_key(), now)).problems
        assert problem == f"the digest of {now.date()} was signed by a clock that was ahead"


async def test_an_operator_verifies(auth: Any, auth_settings: AuthSettings, audit_database: Database) -> None:
    """Auth has not run for long → a digest is missing → it starts again and signs → the log holds."""
    now = datetime.now(UTC)
    verdict = await verify_audit(auth_settings, now)
    assert verdict.problems == [f"the digest of {auth.clock.now().date()} is missing"]
    async with audit_database.transaction() as connection:
        made = await sign_days(AuditLog(connection, now), own_key(auth_settings.private_key_file))
    assert made[0].day == auth.clock.now().date() and made[-1].day == now.date() - timedelta(days=1)
    verdict = await verify_audit(auth_settings, now)
    assert (verdict.problems, verdict.signed_through) == ([], verdict.entries)
    assert str(made[0].day) in verdict.signed_late


@contextlib.asynccontextmanager
async def _undone(database: Database) -> AsyncIterator[asyncpg.Connection]:
    async with database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            yield connection
        finally:
            await transaction.rollback()


async def _of(auth: Any, target: str) -> Any:
    return (await acts(auth, target=target)).body["data"]


async def _has_days(database: Database, days: list[date]) -> bool:
    async with database.connection() as connection:
        return [row["day"] for row in await connection.fetch("SELECT day FROM audit_digests ORDER BY day")] == days
