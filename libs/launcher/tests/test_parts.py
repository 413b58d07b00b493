"""Jars, Java, ports, folders, databases: each failure is one line that says what to do."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import pytest
from fleet_launcher.control import reset
from fleet_launcher.databases import drop_databases, ensure_databases
from fleet_launcher.environment import own_parts, service_environment
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.instance import RestartPolicy
from fleet_launcher.jars import Jar, ensure_jars, kafka_jars
from fleet_launcher.java import find_java, major_version, packaged_java
from fleet_launcher.keys import ensure_keys
from fleet_launcher.options import FleetOptions, parse_replicas
from fleet_launcher.places import StateDir
from fleet_launcher.ports import is_free, kept_ports
from fleet_launcher.processes import lives, record, record_of, running, spawn, stop, trim_logs
from fleet_launcher.services import SERVICES
from fleet_launcher.stack import Endpoints, Stack

CONTENT = b"a jar"
JAR = Jar("org.example:thing:1.0", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def fetch(jar: Jar, folder: Path) -> Path:
    file = folder / jar.filename
    file.write_bytes(CONTENT)
    return file


def unreachable(jar: Jar, folder: Path) -> Path:
    try:
        raise ConnectionRefusedError(111, "Connection refused")
    except OSError as error:
        raise RuntimeError("Max retries exceeded") from error


def test_jars_are_fetched_once_checked_always_and_then_needed_no_network(tmp_path: Path) -> None:
    told: list[str] = []
    (file,) = ensure_jars(tmp_path, jars=[JAR], fetch=fetch, tell=told.append)
    assert file.read_bytes() == CONTENT and "1 jars to fetch" in told[0]
    assert ensure_jars(tmp_path, jars=[JAR], fetch=unreachable) == [file]
    file.write_bytes(b"spoil")  # the same length
    with pytest.raises(LaunchFailure, match="could not be fetched from Maven Central: ConnectionRefusedError"):
        ensure_jars(tmp_path, jars=[JAR], fetch=unreachable, first_pause_s=0)
    assert ensure_jars(tmp_path, jars=[JAR], fetch=fetch)[0].read_bytes() == CONTENT


def test_a_jar_that_does_not_come_at_once_is_asked_for_again(tmp_path: Path) -> None:
    told: list[str] = []
    folders: list[Path] = []

    def twice_unreachable(jar: Jar, folder: Path) -> Path:
        folders.append(folder)
        (folder / jar.filename).touch(exist_ok=False)  # cut off: what is there is in its way
        return fetch(jar, folder) if len(folders) == 3 else unreachable(jar, folder)

    (file,) = ensure_jars(tmp_path, jars=[JAR], fetch=twice_unreachable, tell=told.append, first_pause_s=0)
    assert file.read_bytes() == CONTENT
    again = "Kafka: a jar did not come (ConnectionRefusedError: [Errno 111] Connection refused); it is asked for again in 0 s"
    assert told[1:3] == [again, again]


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    other = Jar(JAR.coordinate, JAR.size, hashlib.sha256(b"other").hexdigest())
    with pytest.raises(LaunchFailure, match="SHA-256 differs"):
        ensure_jars(tmp_path, jars=[other], fetch=fetch)
    assert not list(tmp_path.iterdir())


def test_the_list_of_jars_is_kafka_with_a_log_binding() -> None:
    names = {jar.coordinate for jar in kafka_jars()}
    assert len(names) == 46
    assert {"org.apache.kafka:kafka_2.13:4.3.0", "org.slf4j:slf4j-simple:1.7.36"} <= names


def test_java_is_the_packaged_one_and_old_ones_are_named(tmp_path: Path) -> None:
    assert find_java() == packaged_java()
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    old.chmod(0o755)
    assert major_version(old) == 8
    with pytest.raises(LaunchFailure, match=r"17 or newer \(.*java is version 8\)\. Run `make setup`"):
        find_java((lambda: None, lambda: old))
    with pytest.raises(LaunchFailure, match="17 or newer"):
        find_java((lambda: None, lambda: None))


def test_ports_are_kept_until_somebody_else_takes_them(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    first = kept_ports(state, ["kafka", "postgres"])
    assert kept_ports(state, ["kafka", "postgres"]) == first
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first["kafka"]))
        taken.listen()
        assert not is_free(first["kafka"])
        second = kept_ports(state, ["kafka", "postgres"])
    assert second["kafka"] != first["kafka"] and second["postgres"] == first["postgres"]


def test_a_full_disk_and_a_bad_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailure, match=r"MB are free .* a fleet that is new needs .* Free some space"):
        StateDir(tmp_path / "state").require_room(needed_bytes=1 << 60)
    (tmp_path / "file").touch()
    with pytest.raises(LaunchFailure, match=r"cannot be made.*--state-dir"):
        StateDir(tmp_path / "file" / "state").prepare()


@pytest.mark.parametrize("kept", ["postgres/PG_VERSION", "kafka/data/meta.properties"])
def test_a_fleet_that_has_its_data_starts_with_less_room(tmp_path: Path, kept: str) -> None:
    state = StateDir(tmp_path)
    for_a_new_one = state.needed_bytes
    (tmp_path / kept).parent.mkdir(parents=True)
    (tmp_path / kept).touch()
    assert 64 << 20 <= state.needed_bytes <= for_a_new_one / 4
    with pytest.raises(LaunchFailure, match=r"a fleet that has its data there needs \d+ MB"):
        state.require_room(needed_bytes=1 << 60)


def test_secrets_and_keys_are_made_once_and_private(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    secret = state.secret("database trading")
    assert len(secret) >= 24 and state.secret("database trading") == secret != state.secret("valkey")
    ensure_keys(state, ["trading"])
    before = state.private_key("trading").read_text()
    ensure_keys(state, ["trading", "data"])
    assert state.private_key("trading").read_text() == before
    for file in (tmp_path / "secrets.json", state.private_key("trading"), state.private_key("cli")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "PRIVATE" not in state.public_keys.read_text()


@pytest.mark.parametrize("torn", ["", '{"postgres": "se', "[]"])
def test_torn_secrets_are_never_made_anew_and_a_reset_goes_on_without_them(tmp_path: Path, torn: str) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    file = tmp_path / "secrets.json"
    file.write_text(torn)
    for wanting in (lambda: state.secret("postgres"), Stack(tmp_path, environment={}).plan):
        with pytest.raises(LaunchFailure, match=r"secrets\.json is torn.*backup.*fleet reset"):
            wanting()
    assert file.read_text() == torn
    with own_parts():
        reset(state)
    assert not file.exists() and state.secret("postgres")


def test_data_whose_password_is_lost_is_told_before_a_new_one_is_made(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
    with pytest.raises(LaunchFailure, match=r"secrets\.json has no password of .*postgres.*backup.*fleet reset"):
        Stack(tmp_path, environment={}).plan()
    assert "postgres" not in state.kept("secrets.json")
    with own_parts():
        reset(state)
    assert not (tmp_path / "postgres").exists()


def test_what_else_was_torn_is_as_if_it_had_not_been_there(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    for torn in ("", '{"kafka": 20', "[]"):
        (tmp_path / "ports.json").write_text(torn)
        assert state.kept("ports.json") == {}
    assert kept_ports(state, ["kafka"]) == state.kept("ports.json")


def test_a_file_that_the_disk_has_no_room_for_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    state = StateDir(tmp_path)
    state.keep("options.json", {"feed": "old"})
    program = """
import pathlib, resource, sys
from fleet_launcher.places import StateDir
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
StateDir(pathlib.Path(sys.argv[1])).keep("options.json", {"feed": "x" * 100})
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert "File too large" in done.stderr
    assert state.kept("options.json") == {"feed": "old"} and len(list(tmp_path.iterdir())) == 1


async def test_no_service_can_connect_to_the_database_of_another(stack: Endpoints) -> None:
    passwords = {"sketch-a": "it's \\ odd", "sketch-b": "b"}
    try:
        urls = await ensure_databases(stack.postgres_url, passwords)
        assert await ensure_databases(stack.postgres_url, passwords) == urls  # again: nothing changes
        own = await asyncpg.connect(urls["sketch-a"])
        assert await own.fetchval("SELECT current_user") == "sketch-a"
        assert await own.fetchval("SHOW transaction_timeout") == "10s"
        assert await own.fetchval("SHOW idle_in_transaction_session_timeout") == "5s"
        assert await own.fetchval("SHOW lock_timeout") == "5s"
        await own.execute("CREATE TABLE mine (id integer)")
        await own.close()
        for database in ("sketch-b", "postgres", "template1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await asyncpg.connect(urls["sketch-a"].rsplit("/", 1)[0] + f"/{database}")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(urls["sketch-b"].replace(":b@", ":guess@"))
    finally:
        await drop_databases(stack.postgres_url, passwords)


def test_a_process_is_known_after_its_machines_clock_was_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """recorded -> the clock is set forward an hour, and so is the time of the boot that the kernel tells -> still known"""
    state = StateDir(tmp_path)
    record(state, "me", os.getpid())
    kernel = tmp_path / "proc"
    kernel.mkdir()
    (kernel / str(os.getpid())).symlink_to(f"/proc/{os.getpid()}")
    boot = int(psutil.boot_time())
    told = Path("/proc/stat").read_text()
    (kernel / "stat").write_text(told.replace(f"btime {boot}", f"btime {boot + 3600}"))
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(kernel))
    assert psutil.boot_time() == boot + 3600
    assert running(state, "me") == psutil.Process()


def test_of_two_processes_that_start_together_neither_is_taken_for_the_other(tmp_path: Path) -> None:
    """A tick of the kernel's clock apart: as if one had ended and the other had its pid."""
    state = StateDir(tmp_path)
    begun = [subprocess.Popen(["sleep", "60"])]
    try:
        while begun_at(begun[0]) == begun_at(begun[-1]):
            begun.append(subprocess.Popen(["sleep", "60"]))
        record(state, "ours", begun[0].pid)
        kept = state.run / "ours.json"
        kept.write_text(json.dumps(json.loads(kept.read_text()) | {"pid": begun[-1].pid}))
        assert record_of(state, "ours") is not None and running(state, "ours") is None
    finally:
        for process in begun:
            process.kill()
            process.wait()


def begun_at(process: subprocess.Popen[bytes]) -> float:
    return psutil.Process(process.pid).create_time()


def test_a_process_that_does_not_end_when_asked_is_killed_with_its_children(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    program = "import signal, subprocess; signal.signal(15, 1); print(1, flush=True); subprocess.run(['sleep', '60'])"
    process = spawn(state, "stubborn", [sys.executable, "-c", program], log=state.log("stubborn"))
    found = running(state, "stubborn")
    assert found is not None
    while not found.children() or not state.log("stubborn").stat().st_size:
        os.sched_yield()
    children = found.children()
    stop(state, "stubborn", timeout_s=0.2)
    assert process.poll() is not None and not lives(children[0])
    assert record_of(state, "stubborn") is None


def test_deaths_are_answered_at_once_then_ever_later_then_not_any_more() -> None:
    policy = RestartPolicy(limit=5, window_s=300.0)
    assert [policy.delay_s(now) for now in (0.0, 1.0, 2.0, 3.0, 4.0)] == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert policy.delay_s(5.0) is None
    assert policy.delay_s(1000.0) == 0.0  # a death long after the others is the first again


def test_logs_are_kept_short_also_where_there_is_no_room_for_the_old_one(tmp_path: Path) -> None:
    kept, lost, short = (tmp_path / f"{name}.log" for name in ("kafka", "trading-0", "data-0"))
    for log in (kept, lost):
        log.touch()
        os.truncate(log, 65 << 20)
    short.write_text("a line")
    (tmp_path / "trading-0.log.1").mkdir()  # stands for a disk that is full
    (tmp_path / "gone.log").symlink_to(tmp_path / "nowhere")  # and this for one that is removed meanwhile
    trim_logs(tmp_path)
    assert [log.stat().st_size for log in (kept, lost, short)] == [0, 0, 6]
    assert (tmp_path / "kafka.log.1").stat().st_size == 65 << 20


def test_a_setting_goes_to_the_service_that_it_names_and_to_no_other(tmp_path: Path) -> None:
    """The password of the mail server is in FLEET_AUTH_MAIL."""
    own = {
        "auth": "FLEET_AUTH_MAIL",
        "data": "FLEET_DATA_KEEP_TRADES_S",
        "exchange-connector": "FLEET_EXCHANGE_CONNECTOR_SEED",
    }
    caller = dict.fromkeys([*own.values(), "FLEET_DATABASE_CONNECTIONS", "FLEET_BODY_LIMIT_BYTES", "LANG"], "theirs")
    state = StateDir(tmp_path)
    state.prepare()
    for known in SERVICES:
        given = service_environment(
            state, Endpoints("127.0.0.1:1", "postgresql://me@127.0.0.1:2", "redis://3"), known, feed="x", caller=caller
        )
        found = {name for name, value in given.items() if value == "theirs"}
        shared = {"FLEET_DATABASE_CONNECTIONS", "FLEET_BODY_LIMIT_BYTES", "LANG"}
        assert found == shared | ({own[known.name]} if known.name in own else set()), known.name


def test_options_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    assert parse_replicas(["trading=2"]) == {"trading": 2}
    options = FleetOptions(tmp_path, feed="replay", port_offset=100, replicas={"trading": 2})
    assert FleetOptions.from_json(options.to_json()) == options
    for words, said in (
        (["trading"], "Write it as trading=2"),
        (["tradng=2"], "no service tradng"),
        (["data=99"], "99"),
    ):
        with pytest.raises(LaunchFailure, match=said):
            FleetOptions(tmp_path, replicas=parse_replicas(words))


@pytest.mark.long
@pytest.mark.parametrize("identity", ["root", "ordinary user", "root without user namespaces"])
def test_the_native_stack_runs_as_root_and_not(tmp_path: Path, identity: str) -> None:
    if os.geteuid() != 0 and identity != "ordinary user":
        pytest.skip("only root can try what root does")
    prefix: list[str] = []
    if os.geteuid() == 0 and identity == "ordinary user":
        prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    if identity == "root without user namespaces":
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "unshare").write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / "bin" / "unshare").chmod(0o755)
        environment["PATH"] = f"{tmp_path / 'bin'}:{environment['PATH']}"
    command = [*prefix, sys.executable, "-m", "fleet_launcher.stack", "--state-dir", str(tmp_path / "state")]
    for action in ("up", "up", "down"):
        done = subprocess.run([*command, action], capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "state").exists()
