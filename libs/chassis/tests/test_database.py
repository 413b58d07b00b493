"""What the database promises when PostgreSQL does not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from fleet_chassis.database import (
    CLOSE_TIMEOUT_S,
    CommitOutcomeUnknown,
    Database,
    DatabaseUnavailable,
    TransactionFailed,
    is_down,
)
from fleet_testkit.eventually import eventually

NOTES = """
CREATE TABLE notes (
    id int PRIMARY KEY,
    body jsonb,
    later int REFERENCES notes DEFERRABLE INITIALLY DEFERRED
);
CREATE FUNCTION stall() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(60);
    RETURN NULL;
END;
$$;
CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (new.id = 99) EXECUTE FUNCTION stall();
"""


@pytest.fixture(scope="module")
def notes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes") / "migrations"
    folder.mkdir()
    (folder / "0001_notes.sql").write_text(NOTES)
    return folder


@pytest.fixture
async def notes_url(make_database: Any, notes_folder: Path) -> str:
    url: str = await make_database([notes_folder])
    return url


@pytest.fixture
async def notes(notes_url: str) -> AsyncIterator[Database]:
    async with Database(notes_url, application_name="test", max_size=2, acquire_timeout_s=0.2) as database:
        yield database


async def write_note(database: Database, note_id: int, body: object = None) -> None:
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO notes (id, body) VALUES ($1, $2)", note_id, body)


async def note_ids(database: Database) -> list[int]:
    async with database.connection() as connection:
        return [row["id"] for row in await connection.fetch("SELECT id FROM notes ORDER BY id")]


async def test_jsonb_and_numeric_are_exact(notes: Database) -> None:
    await write_note(notes, 1, {"price": Decimal("0.000000010"), "raw": msgspec.Raw(b'{"a":1.10}')})
    async with notes.connection() as connection:
        body = await connection.fetchval("SELECT body FROM notes")
        assert body == {"price": "0.000000010", "raw": {"a": Decimal("1.10")}}
        assert await connection.fetchval("SELECT 10.50::numeric") == Decimal("10.50")


async def test_a_block_that_raises_is_rolled_back(notes: Database) -> None:
    with pytest.raises(KeyError):
        async with notes.transaction() as connection:
            await connection.execute("INSERT INTO notes (id) VALUES (1)")
            raise KeyError
    assert await note_ids(notes) == []


async def test_a_swallowed_error_does_not_pass_for_a_commit(notes: Database) -> None:
    with pytest.raises(TransactionFailed):
        async with notes.transaction() as connection:
            await connection.execute("INSERT INTO notes (id) VALUES (1)")
            with contextlib.suppress(asyncpg.UniqueViolationError):
                await connection.execute("INSERT INTO notes (id) VALUES (1)")
    assert await note_ids(notes) == []


async def test_a_savepoint_contains_an_error(notes: Database) -> None:
    async with notes.transaction() as connection:
        await connection.execute("INSERT INTO notes (id) VALUES (1)")
        with pytest.raises(asyncpg.UniqueViolationError):
            async with connection.transaction():
                await connection.execute("INSERT INTO notes (id) VALUES (1)")
    assert await note_ids(notes) == [1]


async def test_a_deferred_constraint_refuses_the_commit_as_itself(notes: Database) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        async with notes.transaction() as connection:
            await connection.execute("INSERT INTO notes (id, later) VALUES (1, 2)")
    await write_note(notes, 3)
    assert await note_ids(notes) == [3]


@pytest.mark.parametrize("is_done", [True, False])
async def test_a_connection_lost_during_commit_leaves_the_outcome_unknown(
    notes_url: str, notes: Database, cuttable: Callable[[str], Any], is_done: bool
) -> None:
    proxy = cuttable(notes_url)
    await proxy.open()
    async with Database(proxy.url, application_name="test", max_size=1) as cut:
        await write_note(cut, 1)
        setattr(proxy, "cut_after" if is_done else "cut_before", b"COMMIT")
        with pytest.raises(CommitOutcomeUnknown):
            await write_note(cut, 2)
        proxy.cut_after = proxy.cut_before = None
        await eventually(lambda: _idle(notes))
        assert await note_ids(notes) == ([1, 2] if is_done else [1])
        await write_note(cut, 3)


async def test_a_commit_that_is_not_answered_in_time_leaves_the_outcome_unknown(notes_url: str) -> None:
    async with Database(notes_url, application_name="test", command_timeout_s=0.3) as impatient:
        with pytest.raises(CommitOutcomeUnknown):
            await write_note(impatient, 99)
        await write_note(impatient, 1)
        assert await note_ids(impatient) == [1]


async def _idle(database: Database) -> bool:
    async with database.connection() as connection:
        busy: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
        )
    return busy == 0


async def test_a_connection_lost_before_commit_is_no_mystery(notes: Database) -> None:
    with pytest.raises((asyncpg.PostgresConnectionError, DatabaseUnavailable, asyncpg.AdminShutdownError)) as raised:
        async with notes.transaction() as connection:
            await connection.execute("INSERT INTO notes (id) VALUES (1)")
            async with notes.connection() as other:
                await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
            await connection.execute("INSERT INTO notes (id) VALUES (2)")
    assert is_down(raised.value)
    assert await note_ids(notes) == []


async def test_an_exhausted_pool_says_so(notes: Database) -> None:
    async with notes.connection(), notes.connection():
        with pytest.raises(DatabaseUnavailable):
            await note_ids(notes)
    assert await note_ids(notes) == []


async def test_it_comes_back_with_postgresql(
    notes_url: str, cuttable: Callable[[str], Any], caplog: pytest.LogCaptureFixture
) -> None:
    proxy = cuttable(notes_url)
    await proxy.open()
    async with Database(proxy.url, application_name="test", acquire_timeout_s=2) as database:
        assert await database.check() is None
        proxy.cut()
        with pytest.raises(Exception) as raised:
            await write_note(database, 1)
        assert is_down(raised.value)
        assert await database.check() is not None
        await proxy.open()
        await write_note(database, 2)
        assert await note_ids(database) == [2]
        assert await database.check() is None
    assert not [record for record in caplog.records if record.exc_info], (
        "each caller says it himself; the pool need not"
    )


async def test_who_opens_while_postgresql_is_down_waits_for_it(notes_url: str, cuttable: Callable[[str], Any]) -> None:
    proxy = cuttable(notes_url)
    await proxy.open()
    proxy.cut()

    async def open_and_write() -> list[int]:
        async with Database(proxy.url, application_name="test") as database:
            await write_note(database, 1)
            return await note_ids(database)

    opening = asyncio.create_task(open_and_write())
    done, _ = await asyncio.wait([opening], timeout=0.3)
    assert not done
    await proxy.open()
    assert await asyncio.wait_for(opening, 10) == [1]


async def test_who_is_refused_by_postgresql_is_told_at_once(notes_url: str) -> None:
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        async with asyncio.timeout(5), Database(f"{notes_url}_of_nobody", application_name="test"):
            pass


async def test_a_cancelled_statement_gives_its_connection_back(notes: Database) -> None:
    async def stuck() -> None:
        async with notes.transaction() as connection:
            await connection.execute("INSERT INTO notes (id) VALUES (1)")
            await connection.execute("SELECT pg_sleep(60)")

    tasks = [asyncio.create_task(stuck()) for _ in range(1)]
    await eventually(lambda: _sleeps(notes))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await write_note(notes, 1)
    assert await note_ids(notes) == [1]


async def test_a_connection_in_use_is_given_back_while_the_database_is_closed(notes_url: str) -> None:
    """What ends in time ends well: its transaction is committed, nothing fails, and closing waits no longer than for it."""
    go_on = asyncio.Event()

    async def write(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO notes (id) VALUES (1)")
            writing.set()
            await go_on.wait()

    async with contextlib.AsyncExitStack() as stack:
        writing = asyncio.Event()
        database = await stack.enter_async_context(Database(notes_url, application_name="test"))
        task = asyncio.create_task(write(database))
        await writing.wait()
        closing = asyncio.create_task(stack.aclose())
        await eventually(lambda: _is_closed(database))
        go_on.set()
        await asyncio.wait_for(asyncio.gather(task, closing), CLOSE_TIMEOUT_S - 1)
    async with Database(notes_url, application_name="test") as database:
        assert await note_ids(database) == [1]


async def _is_closed(database: Database) -> bool:
    try:
        async with database.connection():
            return False
    except DatabaseUnavailable:
        return True


async def _sleeps(database: Database) -> bool:
    async with database.connection() as connection:
        asleep: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep')"
        )
    return asleep


async def test_a_dedicated_connection_has_its_own_settings(notes: Database) -> None:
    connection = await notes.dedicated(idle_session_timeout="10s")
    try:
        assert await connection.fetchval("SHOW idle_session_timeout") == "10s"
        assert await connection.fetchval("SELECT '{\"a\": 1}'::jsonb") == {"a": 1}
    finally:
        await connection.close()


async def test_a_plan_that_is_made_once_keeps_to_the_index_when_its_table_grows(notes_url: str) -> None:
    change = "UPDATE notes AS n SET body = '{}' FROM unnest($1::int[]) AS c (id) WHERE n.id = c.id"
    async with (
        Database(notes_url, application_name="test", plans_once=True) as database,
        database.connection() as connection,
    ):
        await connection.execute("INSERT INTO notes SELECT generate_series(1000, 1080)")
        await connection.execute("ANALYZE notes")
        await connection.execute(f"PREPARE change (int[]) AS {change}")
        await connection.execute("EXECUTE change ('{1000}')")
        await connection.execute("INSERT INTO notes SELECT generate_series(2000, 12000)")
        plan = "\n".join(row[0] for row in await connection.fetch("EXPLAIN EXECUTE change ('{1000}')"))
    assert "Index Scan using notes_pkey" in plan, plan
