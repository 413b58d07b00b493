"""The table `notices`: what is still to be told."""

from uuid import UUID

from fleet_bus import Transaction

from .domain import Event, Notice

SEND_NOTICE = "send_notice"
"""Kind of the due row behind each notice."""


async def add(tx: Transaction, notice_id: UUID, notice: Notice) -> None:
    await tx.connection.execute(
        """
        INSERT INTO notices (notice_id, user_id, event, detail, address, noticed_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        notice_id,
        notice.user_id,
        notice.event.name,
        notice.detail,
        notice.address,
        notice.noticed_at,
    )
    tx.schedule(SEND_NOTICE, str(notice_id), 1, "wall", notice.noticed_at)


async def take(tx: Transaction, notice_id: UUID) -> Notice | None:
    """The notice, which is there no more."""
    row = await tx.connection.fetchrow("DELETE FROM notices WHERE notice_id = $1 RETURNING *", notice_id)
    if row is None:
        return None
    return Notice(
        user_id=row["user_id"],
        event=Event[row["event"]],
        detail=row["detail"],
        address=row["address"],
        noticed_at=row["noticed_at"],
    )
