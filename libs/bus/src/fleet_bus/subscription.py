"""What a service says of how it reads: `Work`, `Live`, and what time causes, `DueKind`."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from fleet_contracts import Message, Topic

from .glance import Glance
from .received import Received
from .transaction import ClockName, Transaction


class UnitOfWork(Protocol):
    """A service's stores over one transaction."""

    async def lock(self, ids: Sequence[str]) -> None:
        """Locks and reads the rows of these aggregates, in the order given (sorted), before the first use case."""

    async def flush(self) -> None:
        """Writes what the use cases changed; runs just before COMMIT."""


Handler = Callable[[Any, Any], Awaitable[None]]
Touches = Callable[[Any], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Work:
    """A group of replicas that share the partitions. A polled batch is one transaction; sequences are kept in it.

    `touches` names the ids of the aggregates a message will change. Messages without a handler are passed over."""

    name: str
    topics: tuple[Topic, ...]
    unit_of_work: Callable[[Transaction], UnitOfWork]
    handlers: Mapping[type[Message], Handler]
    touches: Touches


@dataclass(frozen=True, slots=True)
class Live:
    """Every process reads every partition. With effects: positions and sequences are kept in the effects' transaction.

    It never parks: what cannot be applied is logged, counted and passed over; *not yet* waits. A batch in which nothing is
    `ours` by a glance costs no transaction: its place is kept with a later one."""

    name: str
    topics: tuple[Topic, ...]
    unit_of_work: Callable[[Transaction], UnitOfWork]
    handlers: Mapping[type[Message], Handler]
    touches: Touches
    ours: Glance[Any] | None = None


@dataclass(frozen=True, slots=True)
class Watch:
    """A live subscription without effects: begins at the end, keeps nothing. `handle` must not block nor fail; it hears only
    of what is `ours` by a glance."""

    name: str
    topics: tuple[Topic, ...]
    handle: Callable[[Received[Any]], None]
    ours: Glance[Any] | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """A row that time has made due."""

    kind: str
    aggregate_id: str
    sequence: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class DueKind:
    """What is done when rows of a kind become due: aggregates locked, the row deleted (gone already: nothing is done).

    `when` is awaited before the transaction is opened: False leaves the row for the next look (a replay that waits for
    rest). `counts_at_rest` is False for what must not keep the fleet from rest, as the replay's own next step."""

    kind: str
    clock: ClockName
    unit_of_work: Callable[[Transaction], UnitOfWork]
    touches: Callable[[str], Iterable[str]]
    handle: Callable[[Any, Due], Awaitable[None]]
    when: Callable[[Due], Awaitable[bool]] | None = None
    counts_at_rest: bool = True
    batch: int = 200
    """Rows in one transaction."""


@dataclass(frozen=True, slots=True)
class _Lockless:
    """A transaction as it is."""

    transaction: Transaction

    async def lock(self, ids: Sequence[str]) -> None:
        """Nothing is locked."""

    async def flush(self) -> None:
        """Nothing is left to write."""


def housekeeping(kind: str, do: Callable[[Transaction, Due], Awaitable[None]]) -> DueKind:
    """What a service does for itself again and again: it needs no lock but that of its due row, and must not keep the fleet
    from rest. `do` schedules the row that comes next."""

    async def handle(uow: _Lockless, due: Due) -> None:
        await do(uow.transaction, due)

    return DueKind(kind, "wall", _Lockless, lambda _: (), handle, counts_at_rest=False)
