"""`GET /audit`: what administrators and operators did."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import AuditCaller
from fleet_chassis.shapes import Resource
from pydantic import Field

from fleet_auth.parts import AuthParts

from .store import Kept, Wanted, entries_page

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

Word = Annotated[str | None, Query(max_length=200)]


class ChangeResource(Resource):
    name: str
    before: str | None
    after: str | None


class AuditEntry(Resource):
    """`actor`: a user's id, `cli:<name>` for the command line, or a service. `acted_at` is told by the service it was done
    in, `recorded_at` is when auth kept it."""

    number: int
    event_id: UUID
    service: str
    actor: str
    action: str
    target: str
    changes: list[ChangeResource]
    reason: str | None
    request_id: str | None
    address: str | None = Field(default=None, description="Where the gateway saw the actor; of IPv6 the /64.")
    acted_at: datetime
    recorded_at: datetime
    hash: str = Field(description="SHA-256 over this entry and the hash of the one before; hexadecimal.")


def _wanted(service: Word = None, actor: Word = None, action: Word = None, target: Word = None) -> Wanted:
    return Wanted(service=service, actor=actor, action=action, target=target)


Filters = Annotated[Wanted, Depends(_wanted)]


@router.get("")
async def list_acts(
    _caller: AuditCaller, auth: AuthParts, wanted: Filters, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[AuditEntry]:
    """Acts that only administrators and operators may do, and those on keys and second factors; the last first."""
    before = None if cursor is None else decode_cursor(cursor, int)[0]
    async with auth.bus.transaction() as tx:
        found = await entries_page(tx.connection, wanted, before=before, limit=limit + 1)
    return Page[AuditEntry].of([_shown(one) for one in found], limit, lambda last: (last.number,))


def _shown(kept: Kept) -> AuditEntry:
    return AuditEntry(**msgspec.to_builtins(kept.entry), hash=kept.hash.hex())
