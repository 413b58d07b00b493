"""Servers given by URL are somebody's: what is made to be thrown away leaves them alone, and who deletes there is asked."""

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from socket import socket

import asyncpg
import pytest
from fleet_cli.main import app
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import SHARED, StateDir
from fleet_launcher.ports import kept_ports
from fleet_launcher.postgres import Postgres
from typer.testing import CliRunner
from whole_fleet import whole_fleet

PASSWORD = "a-secret"


@dataclass(frozen=True)
class Given:
    """A PostgreSQL on which a fleet keeps its data; the shell names it."""

    url: str

    def __contains__(self, database: str) -> bool:
        return bool(asyncio.run(self.run("fetchval", "SELECT true FROM pg_database WHERE datname = $1", database)))

    async def run(self, how: str, *statement: str) -> object:
        connection = await asyncpg.connect(self.url)
        try:
            return await getattr(connection, how)(*statement)
        finally:
            await connection.close()


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    state = StateDir(tmp_path / "given")
    state.prepare()
    server = Postgres(state, kept_ports(state, ["postgres"])["postgres"], PASSWORD, durable=False)
    server.start()
    try:
        made = Given(server.url)
        asyncio.run(made.run("execute", "CREATE DATABASE trading"))
        monkeypatch.setenv("FLEET_POSTGRES_URL", made.url)
        yield made
    finally:
        server.stop()


@pytest.fixture
def taken(tmp_path: Path) -> Iterator[int]:
    """The offset of a port that somebody has, so that no fleet comes up: what it deletes, it has deleted before."""
    port = kept_ports(StateDir(tmp_path), ["taken"])["taken"]
    with socket() as somebody:
        somebody.bind(("127.0.0.1", port))
        somebody.listen()
        yield port - 8000
    shutil.rmtree(SHARED / f"whole-{port - 8000}", ignore_errors=True)


def test_the_demo_takes_servers_of_its_own(given: Given, taken: int, tmp_path: Path) -> None:
    demo = ["demo", "--state-dir", str(tmp_path / "demo"), "--port-offset", str(taken)]
    (tmp_path / "demo").mkdir()
    done = CliRunner().invoke(app, demo)
    assert "in use by" in done.stderr, done.output
    assert "trading" in given
    assert "the demo runs on servers of its own, without FLEET_POSTGRES_URL" in done.stdout


def test_so_does_a_fleet_for_tests(given: Given, taken: int) -> None:
    (SHARED / f"whole-{taken}").mkdir(parents=True)  # so that there is something to reset
    with pytest.raises(LaunchFailure, match="in use by"), whole_fleet("simulated", port_offset=taken):
        pass
    assert "trading" in given


def test_reset_names_the_servers_on_which_it_deletes(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLEET_KAFKA_URL", f"kafka://admin:{PASSWORD}@127.0.0.1:1?mechanism=PLAIN")
    monkeypatch.setenv("FLEET_TOPIC_PREFIX", "staging.")
    (tmp_path / "state").mkdir()
    reset = ["reset", "--state-dir", str(tmp_path / "state")]
    asked = CliRunner().invoke(app, reset, input="n\n")
    assert f"on {given.url.rpartition('@')[2]}" in asked.stdout
    assert "the topics, users and rights that begin with staging. on 127.0.0.1:1?" in asked.stdout
    assert PASSWORD not in asked.output
    assert "trading" in given
    monkeypatch.delenv("FLEET_KAFKA_URL")
    asked = CliRunner().invoke(app, reset, input="y\n")
    assert "topics" not in asked.stdout and asked.exit_code == 0
    assert "trading" not in given


def test_reset_deletes_on_given_servers_unasked_only_where_that_is_said(given: Given, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    reset = ["reset", "--yes", "--state-dir", str(tmp_path / "state")]
    refused = CliRunner().invoke(app, reset)
    assert refused.exit_code == 1 and f"on {given.url.rpartition('@')[2]}" in refused.stderr
    assert PASSWORD not in refused.output
    assert "trading" in given and (tmp_path / "state").exists()
    assert CliRunner().invoke(app, [*reset, "--given-servers"]).exit_code == 0
    assert "trading" not in given
