"""No request sets what is not the caller's to set. Generated from the document, so that a new operation is tried by itself."""

import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from good_requests import NOT_TAKEN, GoodRequests, Request, filled, good_requests
from merged_document import members, merged_document, operations
from whole_fleet import WholeFleet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NOT_THE_CALLERS: dict[str, Any] = {
    "user_id": "00000000-0000-4000-8000-000000000000",
    "roles": ["admin"],
    "status": "filled",
    "filled_quantity": "1",
    "made_up": True,
}
TAKEN = {("PATCH /api/v1/users/{user_id}", "roles"), ("PATCH /api/v1/users/{user_id}", "status")}
"""An administrator's to set."""
MOVES = (
    r"^GET (/health/|/ws|/api/v1/(books|executions|markets|portfolio|positions|risk$|system|exchanges|auth/sessions))"
)
"""What is shown there changes by itself: the market's, and when a session was used."""


def bodies_with(body: Any, more: dict[str, Any]) -> Iterator[Any]:
    """The body with these members in it, and in each of its parts, however deep."""
    if isinstance(body, dict):
        yield body | more
        for name, part in body.items():
            yield from (body | {name: other} for other in bodies_with(part, more))
    elif isinstance(body, list):
        for i, part in enumerate(body):
            yield from ([*body[:i], other, *body[i + 1 :]] for other in bodies_with(part, more))


async def all_shown(good: GoodRequests, http: aiohttp.ClientSession, reads: list[str]) -> dict[tuple[str, str], Any]:
    """What each of these people sees, where he sees something."""
    answers = {
        (name, operation): await good.ask(http, operation, token=token)
        for name, token in good.tokens.items()
        for operation in reads
    }
    return {asked: body for asked, (status, body) in answers.items() if status == 200}


def names_it(answer: tuple[int, Any], member: str) -> bool:
    """Whether it is refused for this member and for nothing else; of a batch the order that has it."""
    status, body = answer
    if status == 207:
        status, body = next(((one["status"], one["problem"]) for one in body if one["status"] != 201), (status, None))
    fields = [error["field"].split(".") for error in body.get("errors", ())] if isinstance(body, dict) else []
    return status == 422 and len(fields) > 0 and all(member in field for field in fields)


async def test_nobody_sets_what_is_not_his_to_set(fleet: WholeFleet) -> None:
    """each body of each operation, which would be taken, with one member more, wherever in it → 422 that names the member,
    nothing is made, changed or moved → the body without it is taken"""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession(fleet.url))
        document = await merged_document(http)
        good = await good_requests(fleet, document, stack)
        told = operations(document)
        sent: dict[str, Request] = {name: one for name, one in good.requests.items() if one.body is not None}
        reads = [name for name in told if name.startswith("GET ") and not re.search(MOVES, name)]
        before, skipped, wrong = await all_shown(good, http, reads), set(), []
        for operation, request in sent.items():
            schema = told[operation]["requestBody"]["content"]["application/json"]["schema"]
            named = set(members(schema, document["components"]["schemas"]))
            for member, value in NOT_THE_CALLERS.items():
                if member in named:
                    skipped.add((operation, member))
                    continue
                for body in bodies_with(filled(request.body), {member: value}):
                    found = await good.ask(http, operation, body)
                    if not names_it(found, member):
                        wrong.append((operation, body, *found))
        assert not wrong, "\n".join(map(str, wrong))
        assert skipped == TAKEN
        after = await all_shown(good, http, reads)
        assert {asked: after.get(asked) for asked in before if after.get(asked) != before[asked]} == {}
        assert len(sent) > 30
        plain = {
            operation: await good.ask(http, operation, filled(request.body)) for operation, request in sent.items()
        }
        refused = {operation: answer for operation, answer in plain.items() if answer[0] >= 300}
        assert {*refused} == {*NOT_TAKEN} & {*sent}, refused
