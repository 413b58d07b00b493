"""What the merged OpenAPI document tells, for tests that are generated from it."""

from collections.abc import Iterator, Mapping
from typing import Any

import aiohttp


async def merged_document(http: aiohttp.ClientSession) -> dict[str, Any]:
    """As the gateway at the session's base URL serves it."""
    async with http.get("/api/v1/openapi.json") as answer:
        told: dict[str, Any] = await answer.json()
    return told


def operations(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By `METHOD /path/{template}`; all but the socket, which is not HTTP."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if path != "/ws"
    }


def members(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    """The names of all members in a schema, however deep."""
    if "$ref" in schema:
        yield from members(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    for kind in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(kind, ()):
            yield from members(inner, schemas)
    yield from members(schema["items"], schemas) if "items" in schema else ()
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from members(inner, schemas)


def links(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What can follow what, and the link: operation, next operation, Link Object (OpenAPI 3.1, 4.8.20)."""
    told = operations(document)
    by_id = {operation["operationId"]: name for name, operation in told.items() if "operationId" in operation}
    for name, operation in told.items():
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                yield name, by_id[link["operationId"]], link
