"""OpenAPI of routes that are parsed and answered by msgspec: the schemas of the very Structs that go over the wire."""

from typing import Any

import msgspec


def schema_of(kind: Any) -> dict[str, Any]:
    """The JSON Schema of a type, its parts in place."""
    schema = msgspec.json.schema(kind)
    parts = schema.pop("$defs", {})
    inlined: dict[str, Any] = _inline(schema, parts)
    return inlined


def _inline(node: Any, parts: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inline(item, parts) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inline(parts[node["$ref"].rsplit("/", 1)[1]], parts)
    return {name: _inline(value, parts) for name, value in node.items()}


def answers(status: int, kind: Any, description: str) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route."""
    return {status: {"description": description, "content": {"application/json": {"schema": schema_of(kind)}}}}


def takes(kind: Any, examples: dict[str, dict[str, Any]] | None = None) -> dict[str, Any]:
    """`openapi_extra=` of a route; `examples` are bodies by their names."""
    content: dict[str, Any] = {"schema": schema_of(kind)}
    if examples is not None:
        content["examples"] = {name: {"value": body} for name, body in examples.items()}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def page_of(kind: Any) -> Any:
    return msgspec.defstruct(
        f"PageOf{kind.__name__}", [("data", list[kind]), ("next_cursor", str | None), ("has_more", bool)]
    )
