"""The table `notices`: what is still to be told."""

from uuid import UUID

from fleet_bus import Transaction
from fleet_chassis.ids import new_id
from fleet_chassis.logging import get_logger
from fleet_chassis.requests import current_client_address

from fleet_auth.guessing.service import FOR_NOTICES
from fleet_auth.guessing.store import Attempts

from .domain import Event, Notice

log = get_logger(__name__)

SEND_NOTICE = "send_notice"
"""Kind of the due row behind each notice."""


class Notices:
    """In one transaction."""

    def __init__(self, tx: Transaction, *, are_sent: bool) -> None:
        """`are_sent`: whether this installation sends mail. Else nothing is kept."""
        self._tx = tx
        self._are_sent = are_sent

    async def add(self, user_id: UUID, event: Event, detail: str | None = None) -> None:
        """Has the user told, as if by whoever sent the current request."""
        if not self._are_sent:
            return
        if await Attempts(self._tx).one_more((f"notices to {user_id}", FOR_NOTICES)) is not None:
            log.warning("owner_not_told", user_id=str(user_id), notice=event.name)
            return
        notice_id = new_id()
        await self._tx.connection.execute(
            """
            INSERT INTO notices (notice_id, user_id, event, detail, address, noticed_at)
            VALUES ($1, $2, $3, $4, $5, $6)
            """,
            notice_id,
            user_id,
            event.name,
            detail,
            current_client_address(),
            self._tx.now,
        )
        self._tx.schedule(SEND_NOTICE, str(notice_id), 1, "wall", self._tx.now)

    async def take(self, notice_id: UUID) -> Notice | None:
        """The notice, which is there no more."""
        row = await self._tx.connection.fetchrow("DELETE FROM notices WHERE notice_id = $1 RETURNING *", notice_id)
        if row is None:
            return None
        return Notice(
            user_id=row["user_id"],
            event=Event[row["event"]],
            detail=row["detail"],
            address=row["address"],
            noticed_at=row["noticed_at"],
        )
