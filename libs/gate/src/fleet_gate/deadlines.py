"""`cancel-after` as a last gate keeps it: heard from trading directly and by Kafka, kept, and told when it has come.

Nobody has to be alive for it but the gate: whoever has heard of a deadline cancels by its own clock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from fastapi import APIRouter, Depends
from fleet_bus import Bus, Received
from fleet_chassis.background import Background
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.logging import get_logger
from fleet_chassis.permissions import service_caller
from fleet_contracts import Message
from fleet_contracts.topics import TRADING_CANCEL_AFTER
from fleet_contracts.trading import CancelAfterSet
from pydantic import AwareDatetime, BaseModel

from . import deadlines_store as store
from .cutoffs import Cutoffs
from .unkept import Unkept

LOOK_S = 0.1
"""Between two looks at the clock: so late a deadline may be seen."""

LAST_GATES = ("execution", "exchange-connector", "matching-engine")
"""Who cancels by itself when an account's deadline has come."""

log = get_logger("fleet_gate")


class DeadlineBody(BaseModel):
    """CancelAfterSet as JSON; fields that it does not know it passes over."""

    account_id: UUID
    user_id: UUID
    set_at: AwareDatetime
    cancel_at: AwareDatetime | None
    passed_at: AwareDatetime | None


class Deadlines:
    """Construct it before `bus.running()`, include `deadlines.router`, and enter `deadlines.running()` first, as a Gate.

    `has_passed` is set whenever one has come, and at the start where one had: the gate waits for it, clears it, and takes
    out what `passed` does not leave. The rule is a level, so doing it twice, or in two processes, changes nothing."""

    def __init__(self, bus: Bus, database: Database) -> None:
        self.has_passed = asyncio.Event()
        self._bus = bus
        self._database = database
        self._cutoffs = Cutoffs()
        self._unkept = Unkept(self._keep, self._held)
        bus.table(TRADING_CANCEL_AFTER, CancelAfterSet).on_change(self._heard)
        self.router: APIRouter = self._routes()

    @property
    def passed(self) -> Mapping[UUID, datetime]:
        """Of each account the latest deadline that has come: nothing that was said or accepted until then may be open."""
        self._cutoffs.advance(self._bus.clock.now())
        return self._cutoffs.passed

    @property
    def version(self) -> int:
        """Counts the changes of `passed`."""
        return self._cutoffs.version

    def is_over(self, account_id: UUID, said_at: datetime) -> bool:
        """Whether what was said then comes too late: its account's deadline has passed since."""
        at = self.passed.get(account_id)
        return at is not None and said_at <= at

    @contextlib.asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        """Loads what is kept, then keeps what is heard and looks at the clock until it is left."""
        for told in await store.load(self._database):
            self._cutoffs.obey(told)
        async with Background(health) as background:
            background.start("deadlines.look", self._look())
            background.start("deadlines.keep", self._unkept.run(self._bus, waits="cancel_after_not_kept"))
            yield

    def _routes(self) -> APIRouter:
        router = APIRouter(
            prefix="/internal/cancel-after", include_in_schema=False, dependencies=[Depends(service_caller("trading"))]
        )

        @router.post("", status_code=204)
        async def tell(body: DeadlineBody) -> None:
            told = CancelAfterSet(**body.model_dump())
            self._cutoffs.obey(told)
            # Also one that is known already: it may have come by Kafka and not be kept yet.
            await self._unkept.keep(str(told.account_id), told)

        return router

    def _heard(self, key: str, received: Received[Message] | None) -> None:
        # At each start the whole topic is heard again; what is not newer than what was kept changes nothing.
        if received is None or not isinstance(received.message, CancelAfterSet):
            return
        if self._cutoffs.obey(received.message):
            self._unkept.add(key, received.message)

    def _held(self, told: CancelAfterSet) -> CancelAfterSet:
        return self._cutoffs.held(told.account_id) or told

    async def _keep(self, told: Sequence[CancelAfterSet]) -> None:
        await store.keep(self._database, told)

    async def _look(self) -> None:
        seen = 0
        while True:
            passed = self.passed
            if seen != self.version:
                seen = self.version
                log.info("cancel_after_passed", accounts=len(passed))
                self.has_passed.set()
            await asyncio.sleep(LOOK_S)
