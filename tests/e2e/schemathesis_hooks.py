"""What Schemathesis asks first of every operation: the good request that tests/support/good_requests.py has made for it; and
what it may not stop or take away, because all the others need it."""

import json
import os
from pathlib import Path
from typing import Any

import schemathesis
from good_requests import filled
from schemathesis import APIOperation, Case, HookContext, Response
from schemathesis.core.failures import Failure, ServerError
from schemathesis.generation.meta import TestPhase

GIVEN = json.loads(Path(os.environ["GOOD_REQUESTS"]).read_text())
HELD = {
    "POST /api/v1/risk/kill-switch": ("scope", "target"),
    "PUT /api/v1/risk/limits": ("scope", "target"),
    "POST /api/v1/exchanges/paper/feed": ("action",),
}
"""Members that stay those of the good request: a market or a fleet that stands still takes no order, nor do the accounts of
all who have a role whose limit is 0."""
SELDOM_GOOD = {"POST /api/v1/orders"}
"""Most of what the schema allows is no order (a quantity or a notional, a price where the type has one), and nothing follows
one that was refused: where the links are followed, this is asked as it is taken."""


@schemathesis.hook
def before_add_examples(context: HookContext, examples: list[Case[Any]]) -> None:
    operation = _operation(context)
    good = GIVEN["requests"][operation.label]
    body = {} if good["body"] is None else {"body": filled(good["body"])}
    examples.append(operation.Case(path_parameters=good["path_parameters"], **body))


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    label = _operation(context).label
    good = GIVEN["requests"][label]
    if case.path_parameters.get("user_id") in GIVEN["people"]:
        case.path_parameters = case.path_parameters | good["path_parameters"]
    if label in SELDOM_GOOD and case.meta is not None and case.meta.phase.name is TestPhase.STATEFUL:
        case.body = good["body"]
    held = {name: good["body"][name] for name in HELD.get(label, ())}
    if held and isinstance(case.body, dict) and isinstance(case.body.get(next(iter(held))), str):
        case.body = case.body | held


@schemathesis.hook
def filter_failure(context: HookContext, failure: Failure, case: Case[Any], response: Response) -> bool:
    """A book that the venue has not shown is none of which something could be told: 503, and when to ask again."""
    is_unready = response.status_code == 503 and b'"code":"book_not_ready"' in response.content
    return not (is_unready and isinstance(failure, ServerError))


def _operation(context: HookContext) -> APIOperation[Any, Any, Any, Any]:
    assert context.operation is not None
    return context.operation
