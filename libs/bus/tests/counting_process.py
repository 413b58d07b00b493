"""A process of its own that passes numbers on, and can be told at which step to be killed: `python counting_process.py {…}`.

The kill comes from the objects that are handed in, the database and the unit of work; the bus knows nothing of it."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import asyncpg
from counting_service import NUMBERS, PASSED_ON, Effects, ProcessSettings, Service, record, work
from fleet_bus import Received
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_contracts.core_engine import SignalAccepted


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadline:
    """Counts the transactions that had effects, and dies in the one it was told to."""

    def __init__(self, step: str, after: int) -> None:
        self.step = step
        self.left = after
        self.has_effects = False

    def reached(self, step: str) -> None:
        if step == self.step and self.has_effects:
            self.left -= 1
            if self.left <= 0:
                die()


class KillingConnection:
    """The relay's own connection: dies where the rows that were sent would be deleted."""

    def __init__(self, connection: asyncpg.Connection, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetch(self, statement: str, *arguments: Any) -> Any:
        if "DELETE FROM outbox" in statement:
            self._deadline.reached("after send")
        return await self._connection.fetch(statement, *arguments)


class KillingDatabase(Database):
    """Dies right before or right after COMMIT."""

    def __init__(self, url: str, deadline: Deadline) -> None:
        super().__init__(url, application_name="killed")
        self._deadline = deadline

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        async with super().transaction() as connection:
            yield connection
            self._deadline.reached("before commit")
        self._deadline.reached("after commit")

    async def dedicated(self, **server_settings: str) -> asyncpg.Connection:
        connection = await super().dedicated(**server_settings)
        return cast(asyncpg.Connection, KillingConnection(connection, self._deadline))


async def main(told: dict[str, Any]) -> None:
    deadline = Deadline(told["step"], told["after"])

    async def pass_on(uow: Effects, received: Received[SignalAccepted]) -> None:
        deadline.has_effects = True
        await record(uow, received)
        uow.tx.publish(PASSED_ON, received.key, received.message)

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = ProcessSettings("middle", told["kafka"], told["prefix"], told.get("ordinal", 0))
    async with KillingDatabase(told["url"], deadline) as database:
        service = Service(settings, database)
        if told.get("reads", True):
            service.bus.add(work(pass_on, topic=NUMBERS))
        async with service.bus.running(Health()):
            while (why := service.bus.ready()) and not stop.is_set():
                sys.stderr.write(f"{why}\n")
                await asyncio.sleep(0.1)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
