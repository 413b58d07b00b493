"""Migrations as plain SQL: applied once, in order, and never against what was applied already."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from fleet_chassis.migrations import MigrationRefused, Target, migrate, migrate_all

SEVERAL_STATEMENTS = """
-- A comment; with a semicolon.
CREATE TABLE a (x int);
INSERT INTO a VALUES (1), (2);
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    RETURN 2 * n;
END;
$$"""


@pytest.fixture
def write_chain(tmp_path: Path) -> Callable[..., Path]:
    def write(owner: str, **files: str) -> Path:
        folder = tmp_path / owner / "migrations"
        folder.mkdir(parents=True, exist_ok=True)
        for name, sql in files.items():
            (folder / f"{name.removeprefix('m')}.sql").write_text(sql)
        return folder

    return write


@pytest.fixture
async def empty_url(make_database: Any) -> str:
    url: str = await make_database([])
    return url


async def ask(url: str, query: str) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_files_are_applied_once_in_the_order_of_their_numbers(
    empty_url: str, write_chain: Callable[..., Path]
) -> None:
    folder = write_chain("orders", m0002_b="ALTER TABLE a ADD y int", m0001_a=SEVERAL_STATEMENTS)
    assert await migrate(empty_url, [folder]) == ["0001_a", "0002_b"]
    assert await migrate(empty_url, [folder]) == []
    assert await ask(empty_url, "SELECT twice(max(x)) FROM a WHERE y IS NULL") == 4
    assert await ask(empty_url, "SELECT version_num FROM alembic_version_orders") == "0002_b"
    write_chain("orders", m0003_c="DROP TABLE a;")
    assert await migrate(empty_url, [folder]) == ["0003_c"]


async def test_chains_do_not_touch_each_other(empty_url: str, write_chain: Callable[..., Path]) -> None:
    bus = write_chain("fleet_bus", m0001_start="CREATE TABLE outbox (id int)")
    service = write_chain("core-engine", m0001_start="CREATE TABLE states (id int)")
    assert await migrate(empty_url, [bus, service]) == ["0001_start", "0001_start"]
    write_chain("fleet_bus", m0002_more="CREATE TABLE inbox (id int)")
    assert await migrate(empty_url, [bus, service]) == ["0002_more"]
    assert await ask(empty_url, "SELECT version_num FROM alembic_version_core_engine") == "0001_start"


async def test_a_file_that_fails_leaves_nothing(empty_url: str, write_chain: Callable[..., Path]) -> None:
    folder = write_chain("orders", m0001_a="CREATE TABLE a (x int)", m0002_b="CREATE TABLE b (x int); SELECT 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(empty_url, [folder])
    assert await ask(empty_url, "SELECT to_regclass('a') IS NOT NULL AND to_regclass('b') IS NULL")
    write_chain("orders", m0002_b="CREATE TABLE b (x int)")
    assert await migrate(empty_url, [folder]) == ["0002_b"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / "0001_a.sql").write_text("CREATE TABLE a (x bigint)"), "was changed after"),
        (lambda folder: (folder / "0001_a.sql").unlink(), "its file is gone"),
        (lambda folder: (folder / "0002_late.sql").write_text("SELECT 1"), "comes before 0003_c"),
        (lambda folder: (folder / "0003_twin.sql").write_text("SELECT 1"), "have the number 0003"),
        (lambda folder: (folder / "4_x.sql").write_text("SELECT 1"), "is named NNNN_<what>.sql"),
        (lambda folder: (folder / f"0004_{'x' * 40}.sql").write_text("SELECT 1"), "32 characters"),
        (lambda folder: (folder / "0004_own.sql").write_text("BEGIN;\nSELECT 1;\nCOMMIT;"), "one transaction"),
    ],
)
async def test_what_does_not_fit_is_refused(
    empty_url: str, write_chain: Callable[..., Path], change: Callable[[Path], object], reason: str
) -> None:
    folder = write_chain("orders", m0001_a="CREATE TABLE a (x int)", m0003_c="CREATE TABLE c (x int)")
    await migrate(empty_url, [folder])
    change(folder)
    with pytest.raises(MigrationRefused, match=reason):
        await migrate(empty_url, [folder])


async def test_processes_that_start_together_apply_each_file_once(
    empty_url: str, write_chain: Callable[..., Path]
) -> None:
    folder = write_chain("orders", m0001_a="CREATE TABLE a (x int)", m0002_b="CREATE TABLE b (x int)")
    applied = await asyncio.gather(*(migrate(empty_url, [folder]) for _ in range(4)))
    assert sorted(applied) == [[], [], [], ["0001_a", "0002_b"]]


async def test_one_database_that_fails_does_not_stop_the_others(
    make_database: Any, write_chain: Callable[..., Path]
) -> None:
    good = write_chain("good", m0001_a="CREATE TABLE a (x int)")
    bad = write_chain("bad", m0001_a="CREATE TABLE")
    results = await migrate_all(
        {
            "bad": Target(await make_database([]), [str(bad)]),
            "good": Target(await make_database([]), [str(good)]),
            "nowhere": Target("postgresql://nobody@127.0.0.1:1/nothing", [str(good)]),
        }
    )
    assert results["good"] == ["0001_a"]
    assert isinstance(results["bad"], asyncpg.PostgresSyntaxError)
    assert isinstance(results["nowhere"], OSError)


async def test_the_command_tells_what_it_did(empty_url: str, write_chain: Callable[..., Path]) -> None:
    folder = write_chain("orders", m0001_a="CREATE TABLE a (x int)")
    order = {"orders": {"url": empty_url, "folders": [str(folder)]}}
    done = await run_command(order)
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, {"orders": ["0001_a"]}, "")
    write_chain("orders", m0001_a="CREATE TABLE a (x text)")
    refused = await run_command(order)
    assert refused.returncode == 1
    assert "orders: MigrationRefused: orders: 0001_a was changed" in refused.stderr
    assert (await run_command({"orders": {"folder": "x"}})).returncode == 2


async def run_command(order: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "fleet_chassis.migrations"]
    return await asyncio.to_thread(
        subprocess.run, command, input=json.dumps(order), capture_output=True, text=True, check=False
    )
