"""`/auth/sessions`."""

from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Response
from fleet_chassis.pages import Page
from fleet_chassis.permissions import SessionCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Resource

from fleet_auth import service
from fleet_auth.domain import RevokedReason
from fleet_auth.parts import AuthParts
from fleet_auth.store import PostgresUnitOfWork

from .store import seen_sessions

router = APIRouter(prefix="/api/v1/auth/sessions", tags=["auth"])


class SessionResource(Resource):
    """`address` (of IPv6 the /64) and `user_agent` are those it began with."""

    session_id: UUID
    created_at: datetime
    last_used_at: datetime
    address: str | None
    user_agent: str | None
    is_current: bool


@router.get("")
async def list_sessions(caller: SessionCaller, auth: AuthParts) -> Page[SessionResource]:
    """One's own sessions that are alive, the newest first; all on one page."""
    async with auth.bus.transaction() as tx:
        seen = await seen_sessions(tx.connection, caller.user_id, tx.now)
    shown = [SessionResource(**asdict(one), is_current=str(one.session_id) == caller.session_id) for one in seen]
    return Page(data=shown, next_cursor=None, has_more=False)


@router.delete("/{session_id}", status_code=204)
async def end_session(session_id: UUID, caller: SessionCaller, auth: AuthParts) -> Response:
    """Ends one of one's own sessions. Another's is 404, as one that does not exist or has ended."""
    async with auth.bus.transaction() as tx:
        uow = PostgresUnitOfWork(tx)
        session = await uow.locked_session(session_id)
        if session is None or session.user_id != caller.user_id or session.revoked_at is not None:
            raise Problem(404, "not_found", "There is no such session.")
        await uow.revoke_session(session, RevokedReason.LOGOUT)
    return Response(status_code=204)


@router.delete("", status_code=204)
async def end_all_sessions(caller: SessionCaller, auth: AuthParts) -> Response:
    """Logs out everywhere, here too."""
    async with auth.bus.transaction() as tx:
        uow = PostgresUnitOfWork(tx)
        await uow.locked_user(caller.user_id)
        await service.end_sessions(uow, caller.user_id, RevokedReason.LOGOUT)
    return Response(status_code=204)
