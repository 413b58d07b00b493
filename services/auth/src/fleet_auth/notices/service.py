"""The use case: an owner is to be told."""

from datetime import timedelta
from uuid import UUID

from fleet_bus import Transaction
from fleet_chassis.ids import new_id
from fleet_chassis.logging import get_logger
from fleet_chassis.requests import current_client_address

from fleet_auth.guessing.domain import Budget
from fleet_auth.guessing.store import Attempts

from . import store
from .domain import Event, Notice

log = get_logger(__name__)

FOR_NOTICES = Budget(allowed=20, first_wait=timedelta(hours=1), longest_wait=timedelta(hours=1))
"""Mails of one event to one account: whoever makes and revokes keys all day is known after twenty, and hides nothing else."""


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
        if await Attempts(self._tx).one_more((f"notices of {event.name} to {user_id}", FOR_NOTICES)) is not None:
            log.warning("owner_not_told", user_id=str(user_id), notice=event.name)
            return
        address = current_client_address()
        notice = Notice(user_id=user_id, event=event, detail=detail, address=address, noticed_at=self._tx.now)
        await store.add(self._tx, new_id(), notice)
