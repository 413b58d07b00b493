"""No request sets what is not the caller's to set: every body of every route refuses members that it does not name."""

from collections.abc import Iterator
from typing import Any

import pytest

NOT_THE_CALLERS = {"roles", "status", "filled_quantity", "user_id", "created_at"}
OF_ADMINS = {("auth", "patch", "/api/v1/users/{user_id}"): {"roles", "status"}}
JUDGED_ELSEWHERE = {"parameters", "parameters_schema", "algo", "limits"}
"""What is in them is judged by the strategy's own schema, by JSON Schema, by the algorithm and by the limits that are named."""

Body = tuple[str, str, str, dict[str, Any], dict[str, Any]]


@pytest.fixture(scope="module")
def bodies(documents: dict[str, dict[str, Any]]) -> list[Body]:
    """Service, method, path, schema, and the document's schemas."""
    found: list[Body] = []
    for service, document in documents.items():
        if service != "matching-engine":
            schemas = document["components"]["schemas"]
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    content = operation.get("requestBody", {}).get("content", {})
                    found += [(service, method, path, media["schema"], schemas) for media in content.values()]
    return found


def objects(schema: dict[str, Any], schemas: dict[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in a schema, by the member it is."""
    if "$ref" in schema:
        yield from objects(schemas[schema["$ref"].rpartition("/")[2]], schemas, name)
    for kind in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(kind, ()):
            yield from objects(inner, schemas, name)
    if "items" in schema:
        yield from objects(schema["items"], schemas, name)
    if schema.get("type") == "object" and name not in JUDGED_ELSEWHERE:
        yield name, schema
        for member, inner in schema.get("properties", {}).items():
            yield from objects(inner, schemas, member)


def test_every_body_refuses_members_that_it_does_not_name(bodies: list[Body]) -> None:
    assert len(bodies) > 15
    open_to_more = [
        (service, method, path, member)
        for service, method, path, schema, schemas in bodies
        for member, shape in objects(schema, schemas)
        if shape.get("additionalProperties") is not False
    ]
    assert open_to_more == []


def test_no_body_names_what_is_not_the_callers_to_set(bodies: list[Body]) -> None:
    for service, method, path, schema, schemas in bodies:
        if path.startswith("/api/v1/"):
            named = {member for _, shape in objects(schema, schemas) for member in shape.get("properties", {})}
            assert named & NOT_THE_CALLERS <= OF_ADMINS.get((service, method, path), set()), (method, path)
