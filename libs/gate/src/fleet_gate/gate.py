"""The gate: hears states from core-engine.state and by direct call, keeps them, answers what is allowed now.

A halt obeys no order of arrival: it may come directly while Kafka is silent, and the record of an older state may
come after it. So the highest (epoch, version) of a scope and target wins, and memory is obeyed before the database
has it: a database that hangs must not delay a halt."""

import contextlib
from collections.abc import AsyncIterator
from uuid import UUID

from fastapi import APIRouter

from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.topics import CORE_ENGINE_STATE
from fleet_contracts.vocabulary import TradingStateWord

from .states import States


class Gate:
    """Construct it before `bus.running()`, include `gate.router` in the app, and enter `gate.running()` first:

        gate = Gate(bus, database)
        app.include_router(gate.router)              # POST /internal/state, GET /internal/state
        async with gate.running(), bus.running():
            ...
            if gate.state(symbol=order.symbol, account_id=order.account_id) is TradingStateWord.HALTED: ...

    Until `running()` has loaded what was kept, every state is halted."""

    def __init__(self, bus: Bus, database: Database) -> None:
        self._bus = bus
        self._database = database
        self._states = States()
        self._is_loaded = False
        self.router: APIRouter = APIRouter()

    def state(
        self, *, symbol: str | None = None, venue: str | None = None, account_id: UUID | None = None
    ) -> TradingStateWord:
        """The strictest state of the system and of each target that is named: a lookup in memory, no I/O."""
        if not self._is_loaded:
            return TradingStateWord.HALTED
        return self._states.strictest(symbol=symbol, venue=venue, account_id=account_id)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Loads what is kept, then keeps what is heard until it is left."""
        yield
