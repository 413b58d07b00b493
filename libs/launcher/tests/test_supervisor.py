"""The supervisor, with its own process and real children, on a real stack."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import socket
import stat
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import psutil
import pytest
import pytest_asyncio
from fleet_bus.probe import broker_answers
from fleet_launcher.control import description, is_up, launch, stop_fleet
from fleet_launcher.environment import own_parts
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.leftovers import SUPERVISOR, end_leftovers
from fleet_launcher.options import FleetOptions
from fleet_launcher.places import StateDir
from fleet_launcher.ports import kept_ports
from fleet_launcher.processes import lives, record_of, running
from fleet_launcher.stack import Endpoints
from fleet_testkit.eventually import eventually

SKETCH = Path(__file__).parent / "sketch"


@dataclass
class SketchFleet:
    """One supervisor in a process of its own."""

    state: StateDir
    options: FleetOptions
    environment: dict[str, str]
    process: asyncio.subprocess.Process | None = None
    events: list[dict[str, Any]] = field(default_factory=list)

    async def start(self) -> dict[str, Any]:
        """Its last event: ready or failed."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SKETCH / "fleet_of_sketches.py"),
            self.options.to_json(),
            stdout=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        assert self.process.stdout
        self.events = []
        async for line in self.process.stdout:
            if line.startswith(b'{"event"'):
                self.events.append(json.loads(line))
                if self.events[-1]["event"] in {"ready", "failed"}:
                    return self.events[-1]
        raise AssertionError(f"the supervisor ended, saying {self.events}")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self.process
        failed = self.events and self.events[-1]["event"] == "failed"  # then it is ending by itself
        if self.process.returncode is None and not failed:
            self.process.send_signal(how)
        await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    def described(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.state.fleet_json.read_text())
        return content

    def instance(self, service: str, ordinal: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.described()["services"][service]["instances"][ordinal]
        return found


def free_offset(folder: Path) -> int:
    """One whose port for the gateway nobody has: other stacks and fleets of the machine keep theirs in the same range."""
    return kept_ports(StateDir(folder), ["offset"], fresh=True)["offset"] - 8000


async def ask(url: str, *, method: str = "GET") -> dict[str, Any] | None:
    """The sketch's answer, None while nobody answers."""
    try:
        async with aiohttp.ClientSession() as client, client.request(method, url) as answer:
            content: dict[str, Any] = await answer.json(content_type=None)
            return content
    except aiohttp.ClientError:
        return None


@pytest_asyncio.fixture(loop_scope="session")
async def sketch_fleet(tmp_path: Path, native_stack: Endpoints) -> AsyncIterator[Callable[..., SketchFleet]]:
    """Makes fleets on the shared stack; `with_parts=True` gives one its own. They bear the names of real ones."""
    made: list[SketchFleet] = []

    def make(name: str = "fleet", *, with_parts: bool = False, **options: Any) -> SketchFleet:
        with own_parts():
            environment = {**os.environ, "PYTHONPATH": str(SKETCH)}
        if not with_parts:
            environment |= {
                "FLEET_KAFKA_URL": native_stack.kafka_url,
                "FLEET_POSTGRES_URL": native_stack.postgres_url,
                "FLEET_REDIS_URL": native_stack.redis_url,
            }
        options.setdefault("port_offset", free_offset(tmp_path))
        fleet = SketchFleet(StateDir(tmp_path / name), FleetOptions(state_dir=tmp_path / name, **options), environment)
        made.append(fleet)
        return fleet

    yield make
    for fleet in made:
        if fleet.process is not None:
            await fleet.stop()
        await asyncio.to_thread(end_leftovers, fleet.state)


MakeFleet = Callable[..., SketchFleet]


async def test_a_fleet_comes_up_describes_itself_and_drains(sketch_fleet: MakeFleet) -> None:
    fleet = sketch_fleet(replicas={"trading": 2})
    assert (await fleet.start())["event"] == "ready"
    timed = {event["name"] for event in fleet.events if event["event"] == "part"}
    assert timed == {"topics", "access", "databases", "migrations", "trading-0", "trading-1", "gateway-0"}

    described = fleet.described()
    assert stat.S_IMODE(fleet.state.fleet_json.stat().st_mode) == 0o600
    assert set(described) == {"gateway_url", "kafka", "postgres", "redis", "services", "topics"}
    assert described["kafka"]["pid"] is None  # given by URL
    assert described["gateway_url"] == f"http://127.0.0.1:{8000 + fleet.options.port_offset}"
    assert "postgresql" not in fleet.state.instances_json.read_text()

    first, second = fleet.instance("trading", 0), fleet.instance("trading", 1)
    answer = await ask(second["url"])
    assert answer is not None and answer["pid"] == second["pid"]
    environment = answer["environment"]
    assert environment["FLEET_ORDINAL"] == "1" and environment["FLEET_SERVICE"] == "trading"
    assert "FLEET_POSTGRES_URL" not in environment and "FLEET_REDIS_URL" not in environment
    connection = await asyncpg.connect(environment["FLEET_DATABASE_URL"])
    assert await connection.fetchval("SELECT count(*) FROM sketches") == 0
    await connection.close()

    assert await fleet.stop() == 0
    assert not psutil.pid_exists(first["pid"]) and not is_up(fleet.state)
    assert "drained" in fleet.state.log("trading-0").read_text()
    assert not fleet.state.fleet_json.exists()


async def test_what_dies_is_started_again_at_the_same_address(sketch_fleet: MakeFleet) -> None:
    fleet = sketch_fleet()
    await fleet.start()
    before = fleet.instance("trading")
    os.kill(before["pid"], signal.SIGKILL)
    await eventually(lambda: fleet.instance("trading")["pid"] not in {None, before["pid"]})
    after = fleet.instance("trading")
    assert after["url"] == before["url"]

    async def answers() -> bool:
        return bool((await ask(after["url"]) or {}).get("pid") == after["pid"])

    await eventually(answers)


async def test_what_cannot_be_started_again_is_tried_again(sketch_fleet: MakeFleet) -> None:
    fleet = sketch_fleet()
    await fleet.start()
    before = fleet.instance("trading")["pid"]
    away = fleet.state.logs.rename(fleet.state.path / "away")  # nothing to write to: like a disk that is full
    os.kill(before, signal.SIGKILL)
    await eventually(lambda: fleet.instance("trading")["pid"] is None)
    away.rename(fleet.state.logs)
    await eventually(lambda: fleet.instance("trading")["pid"] not in {None, before})


async def test_a_part_that_cannot_be_started_again_takes_no_fleet_down(sketch_fleet: MakeFleet) -> None:
    fleet = sketch_fleet()
    del fleet.environment["FLEET_REDIS_URL"]
    assert (await fleet.start())["event"] == "ready"
    before = fleet.described()["redis"]["pid"]
    folder = fleet.state.path / "valkey"
    away = folder.rename(fleet.state.path / "away")
    folder.write_text("")  # nothing can be written in there: like a disk that is full
    os.kill(before, signal.SIGKILL)
    told_down: set[int] = set()

    def is_tried() -> bool:  # it is told that it is down, and so again after each try
        if fleet.described()["redis"]["pid"] is None:
            told_down.add(fleet.state.fleet_json.stat().st_mtime_ns)
        return len(told_down) > 1

    await eventually(is_tried)
    folder.unlink()
    away.rename(folder)
    await eventually(lambda: fleet.described()["redis"]["pid"] not in {None, before})


async def test_what_dies_too_often_is_left_until_it_is_restarted(sketch_fleet: MakeFleet) -> None:
    """three deaths where two are forgiven → status names it and the remedy → fleet restart → it runs and is watched."""
    fleet = sketch_fleet()
    fleet.environment["SKETCH_DEATHS"] = "2"
    assert (await fleet.start())["event"] == "ready"
    killed: set[int | None] = {None}
    for _ in range(3):
        await eventually(lambda: fleet.instance("trading")["pid"] not in killed)
        killed.add(pid := fleet.instance("trading")["pid"])
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: fleet.instance("trading")["gave_up"])
    code, told = await fleet_command("status", fleet)
    assert code == 1 and "died too often: `fleet logs trading`; `fleet restart trading` tries again" in told
    code, told = await fleet_command("restart", fleet, "trading")
    assert code == 0 and "trading-0 is ready again after" in told
    after = fleet.instance("trading")
    assert after["pid"] not in killed and not after["gave_up"]
    os.kill(after["pid"], signal.SIGKILL)  # one more of many
    await eventually(lambda: fleet.instance("trading")["gave_up"])
    assert fleet.process is not None and fleet.process.returncode is None


@pytest.mark.long
async def test_a_restart_kills_what_hangs_and_says_so(sketch_fleet: MakeFleet) -> None:
    fleet = sketch_fleet()
    await fleet.start()
    before = fleet.instance("trading")["pid"]
    os.kill(before, signal.SIGSTOP)
    code, told = await fleet_command("restart", fleet, "trading")
    assert code == 0, told
    drains, killed, ready = told.splitlines()
    assert drains == "trading-0 is asked to drain, for 20 s at the most"
    assert killed == f"trading-0 (pid {before}) hangs: killed with SIGKILL"
    assert "trading-0 is ready again after" in ready and not psutil.pid_exists(before)


async def test_a_fleet_in_the_foreground_ends_with_its_terminal(sketch_fleet: MakeFleet) -> None:
    """Whatever it writes fails from then on: it would live and start nothing again that dies."""
    fleet = sketch_fleet()
    terminal, inside = pty.openpty()
    program = [sys.executable, str(SKETCH / "fleet_of_sketches.py"), fleet.options.to_json()]
    fleet.process = await asyncio.create_subprocess_exec(
        "setsid", "--ctty", *program, stdin=inside, stdout=inside, stderr=inside, env=fleet.environment
    )
    os.close(inside)
    told = b""
    while b'"ready"' not in told:
        told += await asyncio.to_thread(os.read, terminal, 4096)
    service = fleet.instance("trading")["pid"]
    os.close(terminal)
    await asyncio.wait_for(fleet.process.wait(), 30)
    assert not fleet.state.fleet_json.exists() and not psutil.pid_exists(service)


async def fleet_command(name: str, fleet: SketchFleet, *words: str) -> tuple[int, str]:
    """Exit code and output of `fleet …` on this fleet."""
    command = [sys.executable, "-m", "fleet_cli.main", name, *words, "--state-dir", str(fleet.state.path)]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=fleet.environment
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_a_service_that_cannot_start_is_told_and_nothing_stays(sketch_fleet: MakeFleet) -> None:
    fleet = sketch_fleet()
    fleet.environment["SKETCH_BROKEN"] = "trading"
    event = await fleet.start()
    assert event["event"] == "failed"
    assert "trading-0 ends while it starts: sketch_broken: no such setting" in event["problem"]
    assert str(fleet.state.log("trading-0")) in event["remedy"]
    assert await fleet.stop() == 1
    assert not list(fleet.state.run.glob("*.json"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "url", "said"),
    [
        ("KAFKA", "nonsense://x", "FLEET_KAFKA_URL is wrong: a Kafka URL is kafka"),
        ("KAFKA", "127.0.0.1:1", "kafka does not work: KafkaConnectionError"),
        ("POSTGRES", "postgresql://me:secret@127.0.0.1:1/x", "postgres does not work: ConnectionRefusedError"),
    ],
)
async def test_a_part_that_is_not_where_it_was_said_to_be_is_one_line(
    sketch_fleet: MakeFleet, name: str, url: str, said: str
) -> None:
    fleet = sketch_fleet()
    fleet.environment[f"FLEET_{name}_URL"] = url
    event = await fleet.start()
    assert event["event"] == "failed" and event["problem"].startswith(said), event
    assert "secret" not in str(event) and ("docs/" in event["remedy"] or f"FLEET_{name}_URL" in event["remedy"])


async def test_a_busy_port_is_one_line_that_names_the_owner(sketch_fleet: MakeFleet) -> None:
    fleet = sketch_fleet()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 8000 + fleet.options.port_offset))
        taken.listen()
        event = await fleet.start()
    assert event["event"] == "failed"
    assert f"Port {8000 + fleet.options.port_offset} is in use by" in event["problem"]
    assert "--port-offset" in event["remedy"]


async def test_after_kill_9_of_the_supervisor_the_next_one_clears_up(sketch_fleet: MakeFleet) -> None:
    fleet = sketch_fleet()
    await fleet.start()
    orphan = psutil.Process(fleet.instance("trading")["pid"])
    await fleet.stop(signal.SIGKILL)
    assert lives(orphan) and not is_up(fleet.state)
    assert (
        description(fleet.state)["services"]["trading"]["instances"][0]["pid"] == orphan.pid
    )  # what halts it finds it

    await fleet.start()
    assert any("left: gateway-0, trading-0" in event.get("text", "") for event in fleet.events)
    assert not lives(orphan)
    await fleet.stop(signal.SIGKILL)
    assert await asyncio.to_thread(stop_fleet, fleet.state)  # `fleet down` clears up as well
    assert not list(fleet.state.run.glob("*.json"))


def test_who_asks_whether_a_fleet_is_up_is_none(tmp_path: Path) -> None:
    """Two who ask at one moment both hear that there is none."""
    have_asked = threading.Barrier(2, timeout=30)

    class Asked(StateDir):
        @contextlib.contextmanager
        def locked(self, name: str, timeout_s: float, *, is_shared: bool = False) -> Iterator[bool]:
            with super().locked(name, timeout_s, is_shared=is_shared) as held:
                have_asked.wait()
                yield held

    with ThreadPoolExecutor(2) as pool:
        assert not any(pool.map(is_up, (Asked(tmp_path), Asked(tmp_path))))


async def test_a_pid_that_is_somebody_elses_now_is_not_touched(sketch_fleet: MakeFleet) -> None:
    fleet = sketch_fleet()
    fleet.state.prepare()
    bystander = await asyncio.create_subprocess_exec("sleep", "60")
    (fleet.state.run / "trading-0.json").write_text(f'{{"pid": {bystander.pid}, "started": "another boot 1000"}}')
    (fleet.state.run / "gateway-0.json").write_text('{"pid": 12')  # torn by a power cut
    assert running(fleet.state, "trading-0") is None
    assert (await fleet.start())["event"] == "ready"
    assert bystander.returncode is None
    bystander.kill()
    await bystander.wait()


@pytest.mark.long
def test_who_asks_or_waits_while_a_fleet_starts_is_told_what_becomes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent, ThreadPoolExecutor(1) as pool:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        for name, scheme in (("KAFKA", ""), ("POSTGRES", "postgresql://"), ("REDIS", "redis://")):
            monkeypatch.setenv(f"FLEET_{name}_URL", scheme + place)
        state = StateDir(tmp_path)
        starting = pool.submit(list, launch(FleetOptions(tmp_path, port_offset=free_offset(tmp_path))))
        asyncio.run(eventually(lambda: record_of(state, SUPERVISOR) or starting.done(), timeout_s=30))
        with pytest.raises(LaunchFailure, match="is starting or stopping"):
            description(state)
        assert stop_fleet(state)
        with pytest.raises(LaunchFailure, match="was stopped while it started"):
            starting.result()


@pytest.mark.long
async def test_two_fleets_run_side_by_side_and_one_folder_takes_one(sketch_fleet: MakeFleet) -> None:
    one, other = sketch_fleet("one"), sketch_fleet("other")
    await one.start()
    second = SketchFleet(one.state, one.options, one.environment)
    event = await second.start()
    assert event["event"] == "failed" and "already runs" in event["problem"]
    await second.stop()
    await other.start()
    assert one.instance("trading")["url"] != other.instance("trading")["url"]
    assert is_up(one.state) and is_up(other.state)
    record = record_of(one.state, SUPERVISOR)
    assert record is not None and one.process is not None and record.pid == one.process.pid


@pytest.mark.long
async def test_parts_that_die_come_back_at_the_same_address(sketch_fleet: MakeFleet) -> None:
    fleet = sketch_fleet(with_parts=True)
    assert (await fleet.start())["event"] == "ready"
    before = fleet.described()
    for part in ("kafka", "postgres", "redis"):
        os.kill(before[part]["pid"], signal.SIGKILL)

    def all_back() -> bool:
        now = fleet.described()
        return all(now[part]["pid"] not in {None, before[part]["pid"]} for part in ("kafka", "postgres", "redis"))

    await eventually(all_back, timeout_s=60)
    after = fleet.described()
    assert after["postgres"]["url"] == before["postgres"]["url"]
    assert await broker_answers(before["kafka"]["url"], timeout_s=30)
    connection = await asyncpg.connect(after["services"]["trading"]["database_url"])
    assert await connection.fetchval("SELECT count(*) FROM sketches") == 0
    await connection.close()
    assert await fleet.stop() == 0
    # Who is dead stays in the table until whoever inherits it has looked.
    await eventually(
        lambda: not [pid for part in ("kafka", "postgres", "redis") if psutil.pid_exists(pid := after[part]["pid"])]
    )
    # Everything as after a power cut: data there, processes gone, records and PostgreSQL's own pid file stale.
    (fleet.state.path / "postgres" / "postmaster.pid").write_text("1\n/elsewhere\n")
    (fleet.state.run / "kafka.json").write_text('{"pid": 1, "started": "another boot 1000"}')
    assert (await fleet.start())["event"] == "ready"
    assert fleet.described()["postgres"]["url"] == before["postgres"]["url"]
