"""The command where no fleet runs."""

from __future__ import annotations

import shlex
import socket
import subprocess
from pathlib import Path

import pytest
from fleet_cli.doctor import disk, jars, port, python
from fleet_cli.first_steps import curl_lines
from fleet_cli.main import app
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import StateDir
from typer.testing import CliRunner, Result


def fleet(*words: str, state: Path, answer: str = "") -> Result:
    return CliRunner().invoke(app, [*words, "--state-dir", str(state)], input=answer)


@pytest.mark.parametrize(
    "words",
    [["status"], ["rest"], ["parked", "list"], ["ledger", "verify"], ["audit", "verify"], ["restart", "trading"]],
)
def test_what_needs_a_fleet_says_that_none_runs(words: list[str], tmp_path: Path) -> None:
    done = fleet(*words, state=tmp_path)
    assert done.exit_code == 1
    assert done.stderr == f"error: No fleet runs in {tmp_path}. Start one with `fleet up`.\n"


def test_down_is_content_with_nothing_and_reset_asks(tmp_path: Path) -> None:
    assert fleet("down", state=tmp_path / "none").stdout == "no fleet was running\n"
    (tmp_path / "kafka").mkdir()
    (tmp_path / "jars").mkdir()
    assert fleet("reset", state=tmp_path, answer="n\n").exit_code == 1
    assert (tmp_path / "kafka").exists()
    assert fleet("reset", state=tmp_path, answer="y\n").exit_code == 0
    assert not (tmp_path / "kafka").exists() and (tmp_path / "jars").exists()


def test_wrong_words_are_one_line(tmp_path: Path) -> None:
    done = fleet("up", "--replicas", "trading", state=tmp_path)
    assert done.exit_code == 1
    assert done.stderr == "error: 'trading' does not say how many replicas. Write it as trading=2.\n"
    for size in ((), ("1", "--notional", "1000")):
        done = fleet("order", "buy", "AAPL/USD", *size, state=tmp_path)
        assert done.exit_code == 1 and "a quantity or --notional, one of the two" in done.stderr
    done = fleet("logs", "tradng", state=tmp_path)
    assert done.exit_code == 1 and "There is no log of 'tradng'" in done.stderr


def test_the_curl_lines_are_plain_shell() -> None:
    lines = curl_lines("http://127.0.0.1:8000", "ada@example.com", "a password")
    assert len(lines) == 5
    for line in lines:
        assert shlex.split(line)  # quotes are balanced
        assert subprocess.run(["sh", "-n", "-c", line], check=False).returncode == 0
    answer = '{"access_token":"abc.def","refresh_token":"x","expires_in":300}'
    pipe = lines[1].rsplit(" | ", 1)[1].removesuffix(")")
    assert (
        subprocess.run(["sh", "-c", pipe], input=answer, capture_output=True, text=True, check=True).stdout == "abc.def"
    )


def test_doctor_names_what_stands_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailure, match=r"Python is 3\.10\. Install"):
        python((3, 10))
    with pytest.raises(LaunchFailure, match="Run `make setup`"):
        jars(tmp_path)
    assert "GB free" in disk(StateDir(tmp_path / "not" / "yet"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LaunchFailure, match="--port-offset"):
            port(StateDir(tmp_path), taken.getsockname()[1] - 8000)
