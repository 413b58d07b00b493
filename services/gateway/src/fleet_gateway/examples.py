"""Examples for the API's document: what a service gives for a body, an answer or a member of them, and for the rest something
of its shape."""

from collections.abc import Mapping
from typing import Any

_OF_FORMAT = {
    "uuid": "019a7f3c-5d1e-7c4b-9a51-3f0c2b7d8e64",
    "date-time": "2026-01-05T14:30:00Z",
    "date": "2026-01-05",
    "email": "ada@example.com",
    "uri": "https://example.com/",
    "ipv4": "192.0.2.1",
}
_DEEPEST = 12
"""A shape that contains itself ends here."""

Schema = Mapping[str, Any]


def add_examples(operation: dict[str, Any], schemas: Mapping[str, Schema]) -> None:
    """To the body and the good answers of an operation, where they have none."""
    answers = [answer for status, answer in operation.get("responses", {}).items() if status.startswith("2")]
    for told in (operation.get("requestBody", {}), *answers):
        media = told.get("content", {}).get("application/json", {})
        if media.get("schema") and "example" not in media and "examples" not in media:
            media["example"] = example(media["schema"], schemas)


def example(schema: Schema, schemas: Mapping[str, Schema], name: str = "text", depth: int = 0) -> Any:
    """One value of a JSON Schema; `name` is the member it is for."""
    for given in ("example", "const"):
        if given in schema:
            return schema[given]
    for given in ("examples", "enum"):
        if schema.get(given):
            return schema[given][0]
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas, name, depth + 1)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return example(schema[choice][0], schemas, name, depth)
    if "allOf" in schema:
        whole: dict[str, Any] = {}
        for part in schema["allOf"]:
            whole |= example(part, schemas, name, depth)
        return whole
    kind = schema.get("type")
    return _made(schema, kind[0] if isinstance(kind, list) else kind, schemas, name, depth)


def _made(schema: Schema, kind: str | None, schemas: Mapping[str, Schema], name: str, depth: int) -> Any:
    if kind == "object" or "properties" in schema:
        required = schema.get("required", ())
        return {
            member: example(shape, schemas, member, depth + 1)
            for member, shape in schema.get("properties", {}).items()
            if member in required or ("examples" in shape and depth < _DEEPEST)
        }
    if kind == "array":
        if "prefixItems" in schema:
            return [example(item, schemas, name, depth + 1) for item in schema["prefixItems"]]
        few = max(schema.get("minItems", 0), 0 if depth > _DEEPEST else 1)
        return [example(schema.get("items", {}), schemas, name, depth + 1) for _ in range(few)]
    if kind == "string":
        text = _OF_FORMAT.get(schema.get("format", ""), name.replace("_", " "))
        return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]
    if kind in ("integer", "number"):
        least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
        return min(max(least, 1), schema.get("maximum", 1 << 31))
    return {"boolean": True, "null": None}.get(kind or "", {})
