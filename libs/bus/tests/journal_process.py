"""A journal to try the bus with: a machine that sums numbers, and a process of it that is told where to die.

`python journal_process.py {…}`. The kill comes from the objects that are handed in: the database, the machine, the wishes."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

import asyncpg
import msgspec
from counting_service import NUMBERS, ProcessSettings, number
from fleet_bus import CLOCK, Bus, Fact, Journaled, Received, Said
from fleet_chassis.database import Database
from fleet_chassis.health import Health

SUMS = replace(NUMBERS, name="sums", partitions=1)
WISH = "wish"
REST = timedelta(milliseconds=400)
ENDS = 10**9
AT_ONCE = 2


class _State(msgspec.Struct):
    sums: dict[str, int] = {}
    resting: dict[str, datetime] = {}
    wish: int = 0


class Sums:
    """Says the sum of a key's numbers; a number that divides by 5 rests for a while, and its end is said as well: two ends
    at a time."""

    def __init__(self, died: "Deadline | None" = None) -> None:
        self.state = _State({}, {})
        self._deadline = died

    def obey(self, received: Received[Any], at: datetime) -> Iterator[Said]:
        if self._deadline is not None:
            self._deadline.obeyed()
        value = received.message.signal_id.int
        total = self.state.sums[received.key] = self.state.sums.get(received.key, 0) + value
        yield Said(SUMS, received.key, number(total))
        if value % 5 == 0:
            self.state.resting[f"{received.key} {value}"] = at + REST
            yield Said(SUMS, received.key, number(value + len(self.state.resting)))

    def learn(self, fact: Fact, at: datetime) -> Iterator[Said]:
        if fact.kind == CLOCK:
            for name in [name for name, ends_at in self.state.resting.items() if ends_at <= at][:AT_ONCE]:
                del self.state.resting[name]
                key, _, value = name.partition(" ")
                yield Said(SUMS, key, number(ENDS + int(value)))
        else:
            self.state.wish = int(fact.payload)
            for key in sorted(self.state.sums):
                yield Said(SUMS, key, number(self.state.wish + self.state.sums[key]))

    def due_at(self) -> datetime | None:
        return min(self.state.resting.values(), default=None)

    def ends_at(self) -> datetime | None:
        return self.due_at()

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.state)

    def restore(self, content: bytes) -> None:
        self.state = msgspec.msgpack.decode(content, type=_State)


def journaled(wish: int, died: "Deadline | None" = None, *, snapshot_every: int = 40) -> Journaled:
    def wanted(machine: Sums) -> list[Fact]:
        if died is not None:
            died.looked()
        return [] if machine.state.wish == wish else [Fact(WISH, str(wish).encode())]

    return Journaled(
        name="numbers",
        topic=NUMBERS,
        machine=lambda _: Sums(died),
        wanted=wanted,
        snapshot_every=snapshot_every,
        fork_from_bytes=1,  # so that the first is taken in the process, the others by a child
    )


class Deadline:
    """Dies at the `after`th time that the step is reached in which something was obeyed."""

    def __init__(self, step: str, after: int) -> None:
        self._step = step
        self._left = after
        self._obeyed_at: float | None = None

    def reached(self, step: str) -> None:
        if step == self._step:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def obeyed(self) -> None:
        """In the middle of a batch that is claimed, and of which nothing has been sent."""
        self._obeyed_at = time.monotonic()
        self.reached("while obeying")

    def looked(self) -> None:
        """Before the next batch: what the last one said is acknowledged. Its offset is committed half a second later."""
        if self._obeyed_at is not None:
            self.reached("after acknowledgement")
            if time.monotonic() - self._obeyed_at > 1:
                self.reached("after offset")


class _Watched:
    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self.statements: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)

        def call(statement: str, *values: Any) -> Any:
            self.statements.append(statement)
            return found(statement, *values)

        return call if name in ("execute", "fetchval") else found


class KillingDatabase(Database):
    def __init__(self, url: str, deadline: Deadline) -> None:
        super().__init__(url, application_name="killed")
        self._deadline = deadline

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        async with super().transaction() as connection:
            watched = _Watched(connection)
            yield cast(asyncpg.Connection, watched)
            steps = [step for step, words in _STEPS.items() if any(words in s for s in watched.statements)]
            for step in steps:
                self._deadline.reached(f"before {step}")
        for step in steps:
            self._deadline.reached(f"after {step}")


_STEPS = {"claim": "UPDATE journal", "chunk": "INTO journal_snapshot_chunks", "snapshot": "INTO journal_snapshots"}


async def main(told: dict[str, Any]) -> None:
    deadline = Deadline(told["step"], told["after"])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = ProcessSettings("summing", told["kafka"], told["prefix"], told.get("ordinal", 0))
    async with KillingDatabase(told["url"], deadline) as database:
        bus = Bus(settings, database)
        bus.journal(journaled(told.get("wish", 0), deadline))
        async with bus.running(Health()):
            while bus.ready() and not stop.is_set():
                await asyncio.sleep(0.02)
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
