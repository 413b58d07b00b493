"""The API's document shows what may be sent and what is answered, and what it shows is what it says."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from fleet_gateway.openapi import merge
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]


@pytest.fixture(scope="module")
def document(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return merge(deepcopy(documents), "1", [])


def shown(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Where, the media type's object, and whether it is of a request."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                yield f"{method} {path}", media, True
            for status, answer in operation["responses"].items():
                for media in answer.get("content", {}).values():
                    if status.startswith("2"):
                        yield f"{method} {path} {status}", media, False


def test_every_body_has_an_example_and_all_are_as_their_schemas_say(document: dict[str, Any]) -> None:
    count, wrong = 0, []
    for where, media, is_body in shown(document):
        given = [one["value"] for one in media.get("examples", {}).values()]
        given += [media["example"]] if "example" in media else []
        if is_body and not given:
            wrong.append((where, "no example"))
        whole = {**media.get("schema", {}), "components": document["components"]}
        validator = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
        for example in given:
            count += 1
            wrong += [(where, f"{error.json_path}: {error.message}") for error in validator.iter_errors(example)]
    assert wrong == []
    assert count > 60
