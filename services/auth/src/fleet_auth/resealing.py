"""A new field key takes over: it is added to the file, and all that is sealed is sealed anew under it."""

import base64
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec
from fleet_bus import Bus
from fleet_chassis.database import Database

from .audit.store import AuditLog
from .sealing import (
    API_KEY_SECRET,
    KEY_BYTES,
    SIGNING_KEY,
    TOTP_SECRET,
    CannotUnseal,
    FieldKeys,
    SealedField,
    Sealer,
    parse_field_keys,
)
from .settings import AuthSettings

BATCH = 200
"""Rows of one transaction, locked meanwhile: about 10 ms."""


SEALED = (SIGNING_KEY, TOTP_SECRET, API_KEY_SECRET)
"""Every field of auth's tables that is."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """`lost`: the places whose key is gone; nobody can open them any more."""

    rows: int
    lost: tuple[str, ...]


async def rotate_field_keys(settings: AuthSettings, *, by: str, is_file_kept: bool = False) -> Resealed:
    """Replicas read the file within a second; what they seal under the old key meanwhile stays readable, because that
    key stays until the next rotation. `is_file_kept`: the new key is in the file already, from a mounted secret."""
    file = settings.auth_field_keys_file
    before = parse_field_keys(file.read_bytes())
    if not is_file_kept:
        new = secrets.token_hex(4)
        _write(file, FieldKeys(new, {**before.keys, new: secrets.token_bytes(KEY_BYTES)}))
    sealer = Sealer(file, settings.private_key_file)
    async with Database(settings.database_url, application_name="auth-admin", max_size=1) as database:
        bus = Bus(settings, database)
        async with bus.transaction() as tx:
            current = parse_field_keys(file.read_bytes()).current
            await AuditLog(tx.connection, tx.now).note("field_key.made", current, actor=by)
        done = [await _reseal(bus, sealer, field) for field in SEALED]
    if not is_file_kept:
        now = parse_field_keys(file.read_bytes())
        _write(file, FieldKeys(now.current, {name: now.keys[name] for name in (before.current, now.current)}))
    return Resealed(sum(one.rows for one in done), tuple(place for one in done for place in one.lost))


async def _reseal(bus: Bus, sealer: Sealer, field: SealedField) -> Resealed:
    rows, lost, last = 0, [], ""
    while True:
        async with bus.transaction() as tx:
            found = await tx.connection.fetch(
                f"""
                SELECT {field.row}::text AS row, {field.column} AS sealed FROM {field.table}
                WHERE {field.row}::text > $1 ORDER BY {field.row}::text LIMIT $2 FOR UPDATE
                """,  # noqa: S608  constants, here and below
                last,
                BATCH,
            )
            for row in found:
                place = field.place(row["row"])
                if sealer.is_current(row["sealed"]):
                    continue
                try:
                    content = sealer.unseal(row["sealed"], place)
                except CannotUnseal:
                    lost.append(place)
                    continue
                await tx.connection.execute(
                    f"UPDATE {field.table} SET {field.column} = $2 WHERE {field.row}::text = $1",  # noqa: S608
                    row["row"],
                    sealer.seal(content, place),
                )
                rows += 1
        if len(found) < BATCH:
            return Resealed(rows, tuple(lost))
        last = found[-1]["row"]


def _write(file: Path, keys: FieldKeys) -> None:
    """Replaces the file as a whole; nobody else may ever read it."""
    told = {"current": keys.current, "keys": {name: base64.b64encode(key).decode() for name, key in keys.keys.items()}}
    temporary = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(msgspec.json.encode(told))
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)
