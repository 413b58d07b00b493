"""`make bench`: prints every figure and writes bench/results.json. Ratios are to a bare baseline of the same run."""

import argparse
import asyncio
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from whole_fleet import whole_fleet

from bench import book, bus, edge, gateway, hops, journal, orders, profile, replay, risk

PARTS = ("book", "bus", "journal", "risk", "gateway", "replay", "orders")
_RESULTS = Path(__file__).parent / "results.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measures the fleet on this machine.")
    parser.add_argument("--sustained-s", type=float, default=60.0, help="length of the sustained loads")
    parser.add_argument("--only", choices=PARTS, help="one part only")
    parser.add_argument("--no-peers", action="store_true", help="fetch nothing of others to stand beside ours")
    parser.add_argument("--replicas", type=_counts, default=[1, 2], help="of trading, a fleet for each: 1,2")
    parser.add_argument(
        "--profile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="where the CPU of an order goes, by service",
    )
    arguments = parser.parse_args()
    results: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpus": _cpus(), "python": platform.python_version(), "system": platform.platform(terse=True)},
    }
    if arguments.only in (None, "book"):
        _say("book: a million operations through the order book")
        results["book"] = book.measure(_say, peers=not arguments.no_peers)
        _show(results["book"])
    if arguments.only in (None, "bus"):
        _say("bus: events consumed with sequence and one row written")
        results["bus"] = bus.measure()
        _show(results["bus"])
    if arguments.only in (None, "journal"):
        _say("journal: a command of the internal venue through its journal, and a million orders taken over")
        results["journal"] = journal.measure()
        _show(results["journal"])
    if arguments.only in (None, "risk"):
        _say("risk: one order's decision, without limits and with all of them")
        results["risk"] = risk.measure()
        _show(results["risk"])
    if arguments.only in (None, "gateway"):
        _say("gateway: a service through it, alone and through another proxy; then 2,000 sockets")
        results["gateway"] = gateway.measure(_say, peers=not arguments.no_peers)
        _show(results["gateway"])
    if arguments.only in (None, "replay"):
        _say("replay: the demo, start to end")
        results["replay"] = replay.measure()
        _show(results["replay"])
    if arguments.only in (None, "orders"):
        for replicas in arguments.replicas:
            results |= _fleet(arguments.sustained_s, replicas, is_profiled=arguments.profile)
    _RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    _say(f"written to {_RESULTS.relative_to(Path.cwd())}")
    return 0


def _counts(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _fleet(sustained_s: float, replicas: int, *, is_profiled: bool) -> dict[str, Any]:
    _say(f"orders: starting a fleet on the simulated feed, replicas of trading: {replicas}")
    # Thirty days of history would still be on their way while the first loads run.
    environment = {"FLEET_EXCHANGE_CONNECTOR_HISTORY_DAYS": "1"}
    # What is measured is the way of an order, and not how much a quote shows.
    environment |= {"FLEET_EXCHANGE_CONNECTOR_VOLUME_SHARE": "none"}
    # One user asks as often as he can.
    environment |= {"FLEET_GATEWAY_RATE_REQUESTS": "1000000", "FLEET_GATEWAY_RATE_BURST": "1000000"}
    with whole_fleet("simulated", port_offset=900, environment=environment, trading=replicas) as fleet:
        bare = asyncio.run(hops.measure(fleet.description, rate=100, seconds=10))
        before_trading = uvloop.run(edge.measure(fleet))
        found = uvloop.run(orders.measure(fleet, sustained_s=sustained_s, is_profiled=is_profiled))
    quiet, in_batches = found["at 100/s"], found[orders.IN_BATCHES]
    profiles = found.pop("profile", {})
    results = {
        "gateway_before_trading": before_trading,
        "orders": found,
        "five_bare_hops_at_100_per_s": bare,
        "fill_p95_to_five_bare_hops": _ratio(quiet["fill_p95_ms"], bare["p95_ms"]),
        "cpu_at_100_per_s_to_five_bare_hops": _ratio(quiet["cpu_us_per_order_total"], bare["cpu_us_each_total"]),
        "cpu_in_batches_to_five_bare_hops": _ratio(
            in_batches["cpu_us_per_order_total"], bare["in_batches_of_100_cpu_us_each_total"]
        ),
    }
    _show(results)
    for load, table in profiles.items():
        _say(f"profile: {load}")
        sys.stdout.write("\n".join(profile.lines(table)) + "\n")
    results |= {"profile": profiles} if profiles else {}
    return results if replicas == 1 else {f"{replicas} replicas of trading": results}


def _ratio(ours: float | None, bare: float | None) -> float | None:
    return round(ours / bare, 2) if ours and bare else None


def _show(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stdout.write(f"-- {text}\n")
    sys.stdout.flush()


def _cpus() -> int:
    import os

    return os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())
