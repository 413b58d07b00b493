"""The gate: hears states from core-engine.state and by direct call, keeps them, answers what is allowed now.

The two ways have no common order: a halt may come directly while Kafka is silent, and the record of an older state
after it. So the highest (epoch, version) of a scope and target wins. Memory obeys before the database has it: a
database that hangs must not delay a halt."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from fastapi import APIRouter
from fleet_bus import Bus, Received
from fleet_chassis.background import Background
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.logging import get_logger
from fleet_contracts import Message
from fleet_contracts.core_engine import Heartbeat, TradingStateChanged
from fleet_contracts.topics import CORE_ENGINE_STATE
from fleet_contracts.vocabulary import TradingStateWord

from . import store
from .api import Knows, state_router
from .states import States, state_key, strictest
from .unkept import Unkept

GATES = ("trading", "execution", "exchange-connector", "matching-engine")
"""The services that have a gate and obey a trading state by direct call."""

ALONE_AFTER = timedelta(seconds=10)
"""Five heartbeats of core-engine: who has missed as many cannot be told to stop by it."""

log = get_logger("fleet_gate")


class Gate:
    """Construct it before `bus.running()`, include `gate.router` in the app, and enter `gate.running()` first:

        gate = Gate(bus, database)
        app.include_router(gate.router)              # POST /internal/state, GET /internal/state
        async with gate.running(health), bus.running(health):
            ...
            if gate.state(symbol=order.symbol, account_id=order.account_id) is TradingStateWord.HALTED: ...

    Until `running()` has loaded what was kept, everything is halted. Without core-engine's heartbeat for `alone_after`
    the state is no better than reducing, until it comes again. A heartbeat that never came is not missed: neither on a
    replay, which has none, nor before core-engine has started for the first time.

    `has_halt` is set whenever a halt is obeyed, and at the start where one holds: the last gate before a venue waits for
    it, clears it, and takes out what is open there.

    `knows` tells whether there is a target, for who tells a state directly: what is told is obeyed in any case."""

    def __init__(
        self, bus: Bus, database: Database, *, alone_after: timedelta = ALONE_AFTER, knows: Knows | None = None
    ) -> None:
        self.has_halt = asyncio.Event()
        self._bus = bus
        self._database = database
        self._alone_after = alone_after
        self._heartbeat_at: datetime | None = None
        self._states = States()
        self._is_loaded = False
        self._unkept = Unkept(self._keep, self._held)
        bus.table(CORE_ENGINE_STATE, TradingStateChanged).on_change(self._heard)
        self.router: APIRouter = state_router(self._states, self._told, knows)

    def state(
        self, *, symbol: str | None = None, venue: str | None = None, account_id: UUID | None = None
    ) -> TradingStateWord:
        """The strictest state of the system and of each target that is named: a lookup in memory, no I/O."""
        if not self._is_loaded:
            return TradingStateWord.HALTED
        held = self._states.strictest(symbol=symbol, venue=venue, account_id=account_id)
        return strictest(held, TradingStateWord.REDUCING) if self.is_alone else held

    @property
    def is_alone(self) -> bool:
        """Whether core-engine's heartbeat is missing."""
        at = self._heartbeat_at
        return at is not None and self._bus.settings.feed != "replay" and self._bus.clock.now() - at > self._alone_after

    def held(self) -> list[TradingStateChanged]:
        """Every state that is obeyed, of each scope and target; none before `running()` has loaded them."""
        return self._states.all() if self._is_loaded else []

    @contextlib.asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        """Loads what is kept, then keeps what is heard until it is left."""
        for change in await store.load(self._database):
            self._states.obey(change)
            self._note_halt(change)
        self._is_loaded = True
        async with Background(health) as background:
            background.start("gate.keep", self._unkept.run(self._bus, waits="trading_state_not_kept"))
            background.start("gate.heartbeat", self._tell_when_alone())
            yield

    async def _told(self, change: TradingStateChanged) -> TradingStateChanged:
        """Obeys at once and answers with what holds now, once it is kept: the caller's `ok` outlives this process."""
        self._obey(change)
        return await self._unkept.keep(state_key(change.scope, change.target), change)

    def _held(self, change: TradingStateChanged) -> TradingStateChanged:
        return self._states.held(change.scope, change.target) or change

    async def _keep(self, changes: Sequence[TradingStateChanged]) -> None:
        await store.keep(self._database, changes)

    def _heard(self, key: str, received: Received[Message] | None) -> None:
        # At each start the whole topic is heard again; what is not newer than the kept states changes nothing.
        if received is not None and isinstance(received.message, Heartbeat):
            # By our own clock, and what was said before we started counts from then on: clocks may differ.
            self._heartbeat_at = self._bus.clock.now()
        if received is None or not isinstance(received.message, TradingStateChanged):
            return
        if self._obey(received.message):
            self._unkept.add(key, received.message)

    def _obey(self, change: TradingStateChanged) -> bool:
        is_newer = self._states.obey(change)
        if is_newer:
            log.info(
                "trading_state_obeyed",
                scope=change.scope,
                target=change.target,
                state=change.state,
                epoch=change.epoch,
                version=change.version,
            )
            self._note_halt(change)
        return is_newer

    def _note_halt(self, change: TradingStateChanged) -> None:
        if change.state is TradingStateWord.HALTED:
            self.has_halt.set()

    async def _tell_when_alone(self) -> None:
        was_alone = False
        while True:
            await asyncio.sleep(1)
            if self.is_alone is not was_alone:
                was_alone = not was_alone
                log.warning("heartbeat_missing" if was_alone else "heartbeat_back")
