"""`fleet bench book`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fleet_cli.main import app
from typer.testing import CliRunner, Result

ADD, CANCEL, TAKE = 0, 1, 2
BUY, SELL = 0, 1


def bench_book(file: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["bench", "book", str(file), *words])


def written(file: Path, rows: list[tuple[int, int, int, int, int]]) -> Path:
    np.array(rows, dtype="<i8").tofile(file)
    return file


def test_both_engines_tell_the_same_of_a_file(tmp_path: Path) -> None:
    rows = [(ADD, 7, BUY, 99, 5), (ADD, 1 << 60, SELL, 101, 4), (ADD, -9, SELL, 101, 4), (ADD, 8, SELL, 103, 9)]
    rows += [(CANCEL, 1 << 60, SELL, 101, 4), (TAKE, 5, BUY, 103, 6), (TAKE, 6, SELL, 99, 7)]
    file = written(tmp_path / "ops.i64", rows)
    lines = []
    for engine in ("fast", "naive"):
        done = bench_book(file, "--engine", engine)
        assert (done.exit_code, done.stderr, done.stdout.count("\n")) == (0, "", 1)
        lines.append(json.loads(done.stdout))
        assert lines[-1].pop("engine") == engine
        assert all(lines[-1].pop(name) > 0 for name in ("seconds", "cpu_seconds", "ops_per_cpu_second"))
    assert lines[0] == lines[1]
    assert len(lines[0].pop("state_hash")) == 16
    expected = {"ops": 7, "fills": 3, "volume": 11, "notional": 4 * 101 + 2 * 103 + 5 * 99, "best_bid": None}
    assert lines[0] == {**expected, "best_ask": 103, "live": 1}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"seven b", "its size is no multiple of 8 bytes"),
        (b"", "has 0 numbers"),
        (bytes(48), "has 6 numbers"),
        (np.array([3, 1, 0, 1, 1], dtype="<i8").tobytes(), "row 0 of {file}: op is 0 to 2, was 3"),
        (np.array([0, 1, 2, 1, 1], dtype="<i8").tobytes(), "row 0 of {file}: side is 0 to 1, was 2"),
        (np.array([0, 1, 0, 0, 1], dtype="<i8").tobytes(), "row 0: add of id 1 is not possible: invalid_price"),
        (np.array([1, 1, 0, 1, 1], dtype="<i8").tobytes(), "row 0: cancel of id 1 is not possible: unknown_order"),
    ],
)
def test_a_bad_file_is_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "ops.i64"
    file.write_bytes(content)
    done = bench_book(file, "--engine", "naive")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ") and said.format(file=file) in done.stderr
    assert done.stdout == ""


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = bench_book(tmp_path / "none")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "cannot be read: No such file or directory" in done.stderr
