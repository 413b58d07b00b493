"""mass-cancel where it cannot be done; services/matching-engine has it with two instances of the venue."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fleet_cli.main import app
from fleet_launcher.keys import ensure_keys
from fleet_launcher.places import StateDir
from fleet_launcher.processes import record
from typer.testing import CliRunner, Result


def mass_cancel(state: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["mass-cancel", "--reason", "a test", *words, "--state-dir", str(state)])


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "Nothing is canceled"),
        (["--symbol", "aapl"], "'aapl' is no symbol"),
        (["--account", "mine"], "'mine' is no account"),
        (["--symbol", "AAPL/USD"], "No fleet runs in"),
    ],
)
def test_what_cannot_be_canceled_is_said(words: list[str], problem: str, tmp_path: Path) -> None:
    done = mass_cancel(tmp_path, *words)
    assert done.exit_code == 1 and problem in done.stderr, done.output


def test_without_an_answer_the_exit_code_is_1(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    ensure_keys(state, [])
    state.keep("fleet.json", {"services": {}})
    record(state, "postgres", os.getpid())
    nobody = {"name": "matching-engine", "ordinal": 0, "url": "http://127.0.0.1:1"}
    for instances in ([], [nobody]):
        state.instances_json.write_text(json.dumps({"instances": instances}))
        done = mass_cancel(tmp_path, "--symbol", "aapl/usd")
        assert done.exit_code == 1, done.output
        assert ("matching-engine-0  unreachable" in done.stdout) == bool(instances)
        assert "partition" in done.stderr and "Nobody" in done.stderr
