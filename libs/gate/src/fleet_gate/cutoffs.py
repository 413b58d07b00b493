"""What deadlines come to: for each account the latest moment until which all that was said is over. Pure."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from fleet_contracts.trading import CancelAfterSet


class Cutoffs:
    """The deadlines known so far. Who has never set one has no cutoff."""

    def __init__(self) -> None:
        self._held: dict[UUID, CancelAfterSet] = {}
        self._ahead: dict[UUID, datetime] = {}
        self._passed: dict[UUID, datetime] = {}
        self._next_at: datetime | None = None
        """None of those ahead comes before it."""
        self.version = 0
        """Counts the changes of `passed`."""

    def obey(self, told: CancelAfterSet) -> bool:
        """Takes it if it was set after what is held of its account; tells whether it was."""
        account_id = told.account_id
        held = self._held.get(account_id)
        if held is not None and held.set_at >= told.set_at:
            return False
        self._held[account_id] = told
        self._ahead.pop(account_id, None)
        if told.cancel_at is not None:
            self._ahead[account_id] = told.cancel_at
            self._next_at = told.cancel_at if self._next_at is None else min(self._next_at, told.cancel_at)
        # One that passed here, and had not when trading set the next: the orders are gone, and it stays passed.
        if told.passed_at is not None:
            self._pass(account_id, told.passed_at)
        return True

    def held(self, account_id: UUID) -> CancelAfterSet | None:
        return self._held.get(account_id)

    def advance(self, now: datetime) -> None:
        """It is now so late."""
        if self._next_at is None or now < self._next_at:
            return
        for account_id, at in list(self._ahead.items()):
            if at <= now:
                del self._ahead[account_id]
                self._pass(account_id, at)
        self._next_at = min(self._ahead.values(), default=None)

    @property
    def passed(self) -> Mapping[UUID, datetime]:
        """The latest that has come of each account: nothing said until then may be open."""
        return self._passed

    def _pass(self, account_id: UUID, at: datetime) -> None:
        known = self._passed.get(account_id)
        if known is None or known < at:
            self._passed[account_id] = at
            self.version += 1
