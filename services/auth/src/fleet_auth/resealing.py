"""A new field key takes over: it is added to the file, and all that is sealed is sealed anew under it."""

import base64
import os
import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from .store import operators_database

BATCH = 200
"""Rows of one transaction, locked meanwhile: about 10 ms."""


_ONE_AT_A_TIME = 0x6669656C64  # "field"
"""Of an advisory lock."""

SEALED = (SIGNING_KEY, TOTP_SECRET, API_KEY_SECRET)
"""Every field of auth's tables that is."""


class RotationUnderWay(Exception):
    """Another rotation is. Two would each write the file without the other's key, and lose what was sealed under it."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """`lost`: the places whose key is gone; nobody can open them any more."""

    rows: int
    lost: tuple[str, ...]


async def rotate_field_keys(settings: AuthSettings, *, by: str, is_file_kept: bool = False) -> Resealed:
    """Replicas read the file within a second; what they seal under the old key meanwhile stays readable, because that
    key stays until the next rotation. Ended in the middle it loses nothing, and is done by the next.

    `is_file_kept`: the new key is in the file already, from a mounted secret. Raises RotationUnderWay."""
    file = settings.auth_field_keys_file
    async with operators_database(settings) as database, _alone(database):
        before = parse_field_keys(file.read_bytes())
        if not is_file_kept:
            new = secrets.token_hex(4)
            _write(file, FieldKeys(new, {**before.keys, new: secrets.token_bytes(KEY_BYTES)}))
        bus, sealer = Bus(settings, database), Sealer(file, settings.private_key_file)
        async with bus.transaction() as tx:
            current = parse_field_keys(file.read_bytes()).current
            await AuditLog(tx.connection, tx.now).note("field_key.made", current, actor=by)
        done = [await _reseal(bus, sealer, field) for field in SEALED]
        if not is_file_kept:
            now = parse_field_keys(file.read_bytes())
            _write(file, FieldKeys(now.current, {name: now.keys[name] for name in (before.current, now.current)}))
    return Resealed(sum(one.rows for one in done), tuple(place for one in done for place in one.lost))


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[None]:
    connection = await database.dedicated()
    try:
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _ONE_AT_A_TIME):
            raise RotationUnderWay
        yield
    finally:
        await connection.close()


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
    """Replaces the file as a whole, on the disk before anything is sealed under a new key; nobody else may ever read it."""
    told = {"current": keys.current, "keys": {name: base64.b64encode(key).decode() for name, key in keys.keys.items()}}
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(descriptor, "wb") as out:
        # Whoever rotates, auth reads it.
        os.fchown(descriptor, file.stat().st_uid, file.stat().st_gid)
        out.write(msgspec.json.encode(told))
        out.flush()
        os.fsync(descriptor)
    Path(temporary).replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
