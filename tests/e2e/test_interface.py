"""The interface as its own document tells it, tried by Schemathesis: nothing fails, nothing answers in another shape."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import good_requests as support
import pytest
from fleet_testkit.eventually import eventually
from good_requests import NOT_TAKEN, GoodRequests, good_requests
from merged_document import links, merged_document, operations
from whole_fleet import WholeFleet, whole_fleet

pytestmark = [pytest.mark.e2e]

COMMAND = Path(sys.executable).with_name("st")
TOLD = Path(__file__).with_name("schemathesis.toml")
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")
PATIENT = {"FLEET_AUTH_ACCESS_TOKEN_S": "7200"}


@dataclass
class Report:
    """What was asked and answered: statuses by operation, and the links that were followed, `source → operation`."""

    answers: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    followed: set[tuple[str, str]] = field(default_factory=set)

    def add(self, path: Path) -> None:
        """What a run has written: an event a line."""
        with path.open() as lines:
            for line in lines:
                event = json.loads(line)
                if "ScenarioFinished" in event:
                    self._add(event["ScenarioFinished"]["recorder"])

    def _add(self, recorder: dict[str, Any]) -> None:
        cases = recorder.get("cases", {})
        operation = {case_id: f"{case['value']['method']} {case['value']['path']}" for case_id, case in cases.items()}
        for case_id, interaction in recorder.get("interactions", {}).items():
            if "response" in interaction:
                self.answers[operation[case_id]][interaction["response"]["status_code"]] += 1
        for case_id, case in cases.items():
            if case.get("is_transition_applied"):
                self.followed.add((operation[case["parent_id"]], operation[case_id]))

    def taken(self) -> set[str]:
        return {name for name, statuses in self.answers.items() if any(200 <= status < 300 for status in statuses)}


async def tried(fleet: WholeFleet, folder: Path, *runs: str) -> None:
    """Runs Schemathesis with each of these options. Fails with what it found, and the commands that show it again; and where
    an operation was not asked, or was never taken."""
    report = Report()
    async with aiohttp.ClientSession(fleet.url) as http:
        document = await merged_document(http)
    for options in runs:
        # Each is asked by people of its own: what one has set (limits, halts, wrong codes) is not to refuse all of the next.
        async with AsyncExitStack() as stack:
            good = await good_requests(fleet, document, stack)
            report.add(await ran(fleet, good, folder, options))
    # Methods that a path does not take are asked too.
    told = set(operations(document))
    assert told <= set(report.answers)
    # Both ways: what is taken after all is to leave the list.
    assert told - report.taken() == set(NOT_TAKEN), {name: report.answers[name] for name in told - report.taken()}
    assert {(name, following) for name, following, _ in links(document)} & report.followed


async def ran(fleet: WholeFleet, good: GoodRequests, folder: Path, options: str) -> Path:
    """The report of a run that found nothing."""
    given, written = folder / "good_requests.json", folder / "report.ndjson"
    given.write_text(json.dumps(asdict(good)))
    config = ["--config-file", str(TOLD), "--no-color"]
    reported = ["--report", "ndjson", "--report-ndjson-path", str(written)]
    environment = {
        "GOOD_REQUESTS": str(given),
        "SCHEMATHESIS_HOOKS": str(HOOKS),
        "PYTHONPATH": str(Path(support.__file__).parent),
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [str(COMMAND), *config, "run", f"{fleet.url}/api/v1/openapi.json", *reported, *options.split()],
        env=os.environ | good.tokens | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return written


async def test_what_is_said_to_follow_does(fleet: WholeFleet) -> None:
    """each link of the document: what it begins with is made → the next operation takes what the link hands on"""
    async with AsyncExitStack() as stack, aiohttp.ClientSession(fleet.url) as http:
        document = await merged_document(http)
        good, count = await good_requests(fleet, document, stack), 0
        for operation, following, link in links(document):
            status, made = await good.ask(http, operation, good.requests[operation].body)
            assert status == 201, (operation, made)
            handed = {
                place: {name: made[pointer.removeprefix("$response.body#/")] for name, pointer in link[place].items()}
                for place in ("parameters", "requestBody")
                if place in link
            }
            body = good.requests[following].body
            body = None if body is None else body | handed.get("requestBody", {})

            # Other services hear of an order or an account within moments.
            await eventually(partial(is_taken, good, http, following, body, handed.get("parameters")))
            count += 1
        assert count > 10


async def is_taken(
    good: GoodRequests, http: aiohttp.ClientSession, operation: str, body: Any, path_parameters: dict[str, str] | None
) -> bool:
    status, answer = await good.ask(http, operation, body, path_parameters=path_parameters)
    assert status < 300, (operation, answer)
    return True


@pytest.mark.timeout(1_200)
async def test_every_operation_answers_as_the_document_says(tmp_path: Path) -> None:
    """On a fleet of its own, since the administrator who asks can stop the others' markets"""
    with whole_fleet("simulated", port_offset=695, environment=PATIENT) as fleet:
        await tried(
            fleet,
            tmp_path,
            "--phases examples,fuzzing -n 20 --generation-deterministic",
            "--phases stateful -n 100 --generation-deterministic",
        )
        is_whole(fleet)


@pytest.mark.long
@pytest.mark.timeout(3_000)
async def test_every_operation_answers_as_the_document_says_whatever_it_is_asked(tmp_path: Path) -> None:
    """200 examples an operation, every boundary of every schema, and operations one after the other as they follow"""
    with whole_fleet("simulated", port_offset=695, environment=PATIENT) as fleet:
        await tried(fleet, tmp_path, "--phases examples,coverage,fuzzing -n 200", "--phases stateful -n 200")
        is_whole(fleet)


def is_whole(fleet: WholeFleet) -> None:
    """Whatever it was asked, the books agree and nothing has failed inside."""
    fleet.verify_books()
    assert [line for line in fleet.noise() if "Traceback" in line] == []
