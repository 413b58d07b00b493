"""Natural batching of hot writes: commit at once when idle; what arrives meanwhile goes into the next transaction."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

import asyncpg
from fleet_chassis.database import CommitOutcomeUnknown, DatabaseUnavailable

from .activity import Activity
from .applying import Opening
from .subscription import UnitOfWork
from .tracing import continue_trace
from .transaction import Transaction

# A transaction of 256 orders takes about 9 ms here; more would only make its first caller wait.
MOST = 256


_NONE: Any = object()

C = TypeVar("C")
R = TypeVar("R")
_Asked = tuple[C, asyncio.Future[R], Context]
"""A command, who waits for it, and what he was in: his trace and his request."""


class GroupCommitter(Generic[C, R]):
    """Collects commands into groups, each decided in memory after one locked read, and committed once.

    A refusal is a result, not an exception. If a group fails all the same it is redone one by one; if the answer to
    COMMIT is lost, each caller of the group gets CommitOutcomeUnknown. No timer. Beyond `most_waiting` commands: Overloaded.

    `decide` answers the results in the order of the commands. They are taken one by one, each in the context of who
    asked: what an iterator publishes and logs as it goes belongs to his trace and his request."""

    def __init__(
        self,
        open_transaction: Opening,
        activity: Activity,
        *,
        unit_of_work: Callable[[Transaction], UnitOfWork],
        touches: Callable[[C], Iterable[str]],
        decide: Callable[[Any, Sequence[C]], Awaitable[Iterable[R]]],
        most_waiting: int,
    ) -> None:
        self._open = open_transaction
        self._activity = activity
        self._unit_of_work = unit_of_work
        self._touches = touches
        self._decide = decide
        self._most_waiting = most_waiting
        self._waiting: list[_Asked[C, R]] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, command: C) -> R:
        """The result of the command, once it is committed. Raises what its own transaction raised."""
        return (await self.submit_all([command]))[0]

    async def submit_all(self, commands: Sequence[C]) -> list[R]:
        """The results of several commands, in order; they may share a transaction with others, and need not share one.

        Raises what failed; CommitOutcomeUnknown where some are committed all the same, so that nobody takes it for
        nothing done."""
        if len(self._waiting) + len(commands) > self._most_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in commands]
        caller = copy_context()
        self._waiting.extend([(command, future, caller) for command, future in zip(commands, futures, strict=True)])
        if self._task is None or self._task.done():
            # Groups belong to no caller, the first no more than those that come while they are committed.
            self._task = asyncio.create_task(self._run(), context=Context())
        done = await asyncio.gather(*futures, return_exceptions=True)
        results = [result for result in done if not isinstance(result, BaseException)]
        failure = next((result for result in done if isinstance(result, BaseException)), None)
        if failure is None:
            return results
        if results and isinstance(failure, Exception):
            raise CommitOutcomeUnknown(f"{len(results)} of {len(commands)} are committed") from failure
        raise failure

    async def drain(self, timeout_s: float) -> None:
        """Lets the groups that were begun or wait be decided, for so long."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout_s)

    async def _run(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            with self._activity.handling():
                await self._commit(group)

    async def _commit(self, group: list[_Asked[C, R]], *, is_second: bool = False) -> None:
        try:
            results = await self._together(group)
        except Exception as error:
            is_last = len(group) == 1 and (is_second or not isinstance(error, asyncpg.UniqueViolationError))
            if is_last or isinstance(error, CommitOutcomeUnknown) or _is_unreachable(error):
                for _, future, _ in group:
                    _fail(future, error)
                return
            # One by one; and one alone again if it met what another process had written while it waited for a lock.
            for one in group:
                await self._commit([one], is_second=len(group) == 1)
            return
        except BaseException:
            for _, future, _ in group:
                future.cancel()
            raise
        for (_, future, _), result in zip(group, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def _together(self, group: list[_Asked[C, R]]) -> Sequence[R]:
        commands = [command for command, _, _ in group]
        # What one submitted stands together, so that where the first and the last are of one, all are.
        continue_trace(group[0][2] if group[0][2] is group[-1][2] else None)
        async with self._open() as tx:
            uow = self._unit_of_work(tx)
            await uow.lock(sorted({identity for command in commands for identity in self._touches(command)}))
            decided = iter(await self._decide(uow, commands))
            results: list[R] = [caller.run(next, decided, _NONE) for _, _, caller in group]
            if results[-1] is _NONE or next(decided, _NONE) is not _NONE:
                was = "fewer" if results[-1] is _NONE else "more"
                raise ValueError(f"{len(commands)} commands need as many results, was {was}")
            await uow.flush()
        return results


def _is_unreachable(error: Exception) -> bool:
    """Whether the database is gone: what a group could not have, none of it can have alone, one time-out after another.

    A statement that is too slow the server ends itself, and says so; TimeoutError: it says nothing at all."""
    gone = (DatabaseUnavailable, TimeoutError, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError)
    return isinstance(error, gone)


class Overloaded(Exception):
    """More commands wait than can be decided in reasonable time; nothing of this one was kept."""


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
