"""The order book: a million operations, sparse ids, 10^5 ticks, one command at a time; peers beside it in the same run."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fleet_cli.bench import book_commands
from fleet_simulator.book.commands import Side, TimeInForce, add, batch, flags
from fleet_simulator.book.fast import FastBook

from bench import book_peers
from bench.book_workload import generate, with_sparse_ids, write

OPERATIONS = 1_000_000
RUNS = 3
ANSWER = {"fills": 245_868, "volume": 9_954_158, "notional": 99_542_565_690}
ANSWER |= {"best_bid": 9_993, "best_ask": 10_009, "live": 53_547}
_BAR = 10_000_000
_SINGLES, _SWEEPS, _LEVELS = 200_000, 1_000, 100


def measure(say: Callable[[str], None], *, peers: bool = True) -> dict[str, Any]:
    """Operations per CPU-second, medians of some runs that take turns; every run's answer is checked."""
    with tempfile.TemporaryDirectory() as folder:
        rows, answer = generate(OPERATIONS)
        if any(answer[name] != value for name, value in ANSWER.items()):
            raise RuntimeError(f"the workload must come to {ANSWER}, was {answer}")
        wide, wide_answer = generate(OPERATIONS, mid=1_000_000, spread=50_000)
        file = write(Path(folder) / "book.i64", rows)
        fleet = [str(Path(sys.executable).with_name("fleet")), "bench", "book"]
        sides: dict[str, Callable[[], dict[str, Any]]] = {
            "fast": lambda: _checked(book_peers.run(fleet, file), answer),
            "fast, sparse ids": lambda: _checked(book_peers.run(fleet, sparse), answer),
            "fast, 100,000 ticks, sparse ids": lambda: _checked(book_peers.run(fleet, wide_file), wide_answer),
        }
        sparse = write(Path(folder) / "sparse.i64", with_sparse_ids(rows))
        wide_file = write(Path(folder) / "wide.i64", with_sparse_ids(wide))
        absent = _add_peers(sides, file, answer, say) if peers else {}
        first = {name: run() for name, run in sides.items()}
        runs: dict[str, list[int]] = {name: [] for name in sides}
        for number in range(RUNS):
            say(f"book: run {number + 1} of {RUNS}, in turn: {', '.join(sides)}")
            for name, run in sides.items():
                runs[name].append(run()["ops_per_cpu_second"])
        say("book: the naive engine once")
        naive = _checked(book_peers.run([*fleet, "--engine", "naive"], file), answer)
        if naive["state_hash"] != first["fast"]["state_hash"]:
            raise RuntimeError(f"the engines differ: {naive} and {first['fast']}")
        say("book: one command at a time")
        speed = {name: round(statistics.median(found)) for name, found in runs.items()}
        found: dict[str, Any] = {
            "answer": answer,
            "ops_per_cpu_second": speed,
            "first_run": {name: run["ops_per_cpu_second"] for name, run in first.items()},
            "naive_ops_per_cpu_second": naive["ops_per_cpu_second"],
            "ratio_to_peer": {name: round(speed["fast"] / speed[name], 1) for name in speed if "fast" not in name},
            "absent": absent,
            "bar_of_10_million": {n: "reached" if s >= _BAR else "missed" for n, s in speed.items() if "fast" in n},
            "single_command_us": _singles(file),
            f"sweep_of_{_LEVELS}_levels_us": {f"{_LEVELS * each} orders": _sweeps(each) for each in (1, 10)},
        }
        return found


def _add_peers(
    sides: dict[str, Callable[[], dict[str, Any]]], file: Path, answer: dict[str, Any], say: Callable[[str], None]
) -> dict[str, str]:
    """Those that cannot be had, and which command showed it."""
    absent = {}
    fills = book_peers.write_fills(file.with_name("fills.i64"), book_commands(file))
    for peer in book_peers.PEERS:
        say(f"book: {peer.name}: fetching and building, or finding it built")
        try:
            command = peer.prepare()
            files = (file, fills) if peer.name == "nautilus_trader" else (file,)
            _checked(book_peers.run(command, *files), answer)
        except book_peers.Absent as why:
            absent[peer.name] = str(why)
            say(f"book: {peer.name} is absent: {why}")
            continue
        sides[peer.name] = lambda command=command, files=files: _checked(book_peers.run(command, *files), answer)  # type: ignore[misc]
    return absent


def _checked(found: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """A figure counts only with the exact answer. One that does not match has no fills of its own to tell."""
    wrong = {name: found[name] for name, value in answer.items() if name in found and found[name] != value}
    if wrong:
        raise RuntimeError(f"{found['engine']} must come to {answer}, was {wrong}")
    return found


def _singles(file: Path) -> dict[str, float]:
    """The workload's first commands, each in a call of its own."""
    book, rows = FastBook(), [tuple(row) for row in book_commands(file)[:_SINGLES].tolist()]
    return _percentiles([_timed(book, row) for row in rows])


def _sweeps(orders_each: int) -> dict[str, float]:
    """One order that takes everything there is, of so many orders at each level."""
    book, taken = FastBook(), []
    count = _LEVELS * orders_each
    resting = batch(add(number, 1, Side.SELL, 10_000 + number % _LEVELS, 5) for number in range(count))
    for _ in range(_SWEEPS):
        book.apply(resting)
        taken.append(_timed(book, add(-1, 2, Side.BUY, 20_000, 5 * count, flags=flags(TimeInForce.IOC))))
        if len(book):
            raise RuntimeError(f"a sweep left {len(book)} orders")
    return _percentiles(taken)


def _timed(book: FastBook, row: tuple[int, ...] | Any) -> float:
    began = time.perf_counter_ns()
    book.apply_one(row)
    return (time.perf_counter_ns() - began) / 1000


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{percent:g}": round(float(np.percentile(values, percent)), 2) for percent in (50, 99, 99.9)}
