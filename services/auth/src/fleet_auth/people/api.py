"""What an administrator makes of users."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from fleet_chassis.assertions import mfa_required
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import AdminCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Body
from fleet_contracts.vocabulary import Role
from pydantic import Field

from fleet_auth import service
from fleet_auth.api_keys.store import ApiKeys
from fleet_auth.domain import FactorNeeded, LastAdministrator, UserStatus, UserUnknown
from fleet_auth.parts import AuthParts, UserResource, user_resource
from fleet_auth.store import PostgresUnitOfWork, users_page

router = APIRouter(prefix="/api/v1/users", tags=["users"])


class UserChange(Body):
    """What is left out stays."""

    roles: Annotated[list[Role], Field(min_length=1, max_length=len(Role))] | None = Field(None, examples=[["trader"]])
    status: UserStatus | None = None


@router.get("")
async def list_users(
    _caller: AdminCaller, auth: AuthParts, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[UserResource]:
    """All users, the newest first."""
    before = None if cursor is None else decode_cursor(cursor, datetime, UUID)
    async with auth.bus.transaction() as tx:
        found = await users_page(tx.connection, before=before, limit=limit + 1)
    return Page[UserResource].of(
        [user_resource(user) for user in found], limit, lambda last: (last.created_at, last.user_id)
    )


@router.patch("/{user_id}")
async def change_user(user_id: UUID, body: UserChange, caller: AdminCaller, auth: AuthParts) -> UserResource:
    """Other roles, or another status. It ends the user's sessions: within 5 seconds no token of his opens anything, what he
    logs in to next is what he is now, and his API keys do no more than he may. What lets him do more takes a second
    factor shown within five minutes (403 `mfa_required`); 403 `last_administrator` for what would end one's own."""
    try:
        async with auth.bus.transaction() as tx:
            uow = PostgresUnitOfWork(tx)
            user = await service.change_user(
                uow,
                user_id,
                roles=body.roles,
                status=body.status,
                by=caller.user_id,
                has_fresh_factor=caller.has_fresh_factor(tx.now),
            )
            await ApiKeys(tx, auth.sealer).tell_changed(user_id)
    except UserUnknown:
        raise Problem(404, "not_found", "The user does not exist.") from None
    except FactorNeeded:
        raise mfa_required() from None
    except LastAdministrator:
        detail = "Another administrator takes the role or the access from you, not you yourself."
        raise Problem(403, "last_administrator", detail) from None
    return user_resource(user)
