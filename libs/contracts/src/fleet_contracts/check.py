"""Keeps the committed JSON Schemas and samples, and refuses a change that a reader of yesterday could not read.

`python -m fleet_contracts.check` compares; `--write` writes what was added. Only optional additions are compatible:
a field may be added if it has a default. Of what is there nothing may change: no field its type, its default or whether it
must be there, no union or enum its members. What a type gained a reader of yesterday refuses, what it lost one of today."""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from .message import encode, schema, unindented
from .samples import sample
from .topics import MESSAGE_TYPES

_ROOT = Path(__file__).parent / "generated"
OPEN_SETS = frozenset({"AlertKind", "AlertSeverity"})
"""Enums that may gain members: alerts are only shown, so a reader may well pass over one that he does not know.

What is said in free words anyway (reasons, limits, capabilities) is text in the contracts, and open by that."""


def incompatibilities(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Why a reader or writer of the old schema would break on the new one; empty if none."""
    found: list[str] = []
    old_definitions, new_definitions = old.get("$defs", {}), new.get("$defs", {})
    for name, before in old_definitions.items():
        after = new_definitions.get(name)
        if after is None:
            found.append(f"{name} is gone")
            continue
        found.extend(f"{name}: {what}" for what in _differences(name, before, after))
    return found


def _differences(name: str, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    found: list[str] = []
    old_members, new_members = set(map(str, before.get("enum", []))), set(map(str, after.get("enum", [])))
    found.extend(f"enum member {member} is gone" for member in sorted(old_members - new_members))
    if name not in OPEN_SETS:
        found.extend(f"enum member {member} is new" for member in sorted(new_members - old_members))
    old_fields, new_fields = before.get("properties", {}), after.get("properties", {})
    for field, kind in old_fields.items():
        if field not in new_fields:
            found.append(f"field {field} is gone")
        elif _normal(kind) != _normal(new_fields[field]):
            found.append(f"field {field} changed its type or default")
    old_required, new_required = set(before.get("required", [])), set(after.get("required", []))
    found.extend(f"field {field} became required" for field in sorted(new_required - old_required))
    found.extend(f"field {field} became optional" for field in sorted((old_required - new_required) & set(new_fields)))
    return found


def _normal(kind: Any) -> Any:
    """Equal for what is the same type: the members of a union have no order."""
    if not isinstance(kind, dict):
        return kind
    normal = {key: _normal(value) for key, value in kind.items()}
    if "anyOf" in kind:
        normal["anyOf"] = sorted(json.dumps(member, sort_keys=True) for member in kind["anyOf"])
    return normal


def check(root: Path = _ROOT, *, write: bool = False) -> list[str]:
    """The problems found. With `write`, adds what is new and compatible."""
    problems: list[str] = []
    (root / "schemas").mkdir(parents=True, exist_ok=True)
    (root / "samples").mkdir(parents=True, exist_ok=True)
    for name, message_type in sorted(MESSAGE_TYPES.items()):
        schema_path = root / "schemas" / f"{name}.json"
        text = json.dumps(schema(message_type), indent=2, sort_keys=True) + "\n"
        committed = schema_path.read_text() if schema_path.exists() else None
        if committed is not None and unindented(json.loads(committed)) == json.loads(text):
            problems.extend(_unreadable_samples(root, name))
            continue
        broken = incompatibilities(json.loads(committed), json.loads(text)) if committed else []
        problems.extend(f"{name}: {what}; add a new type beside it" for what in broken)
        if broken:
            continue
        if not write:
            problems.append(
                f"{name}: the committed schema is not today's; run `python -m fleet_contracts.check --write`"
            )
            continue
        schema_path.write_text(text)
        number = len(list((root / "samples").glob(f"{name}.*.json"))) + 1
        (root / "samples" / f"{name}.{number}.json").write_bytes(encode(sample(message_type)) + b"\n")
        problems.extend(_unreadable_samples(root, name))
    committed_names = {path.stem for path in (root / "schemas").glob("*.json")}
    problems.extend(f"{name}: the type is gone" for name in sorted(committed_names - set(MESSAGE_TYPES)))
    return problems


def _unreadable_samples(root: Path, name: str) -> list[str]:
    problems: list[str] = []
    samples = sorted((root / "samples").glob(f"{name}.*.json"))
    if not samples:
        problems.append(f"{name}: no committed sample")
    for path in samples:
        try:
            msgspec.json.decode(path.read_bytes(), type=MESSAGE_TYPES[name])
        except msgspec.DecodeError as error:
            problems.append(f"{name}: cannot read {path.name}: {error}")
    return problems


if __name__ == "__main__":
    trouble = check(write="--write" in sys.argv[1:])
    for line in trouble:
        sys.stderr.write(line + "\n")
    sys.exit(1 if trouble else 0)
