"""The pool of PostgreSQL connections, and the one place where a transaction is opened and committed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, cast

import asyncpg
import msgspec
from fleet_contracts.encoding import encode_json
from pydantic import SecretStr

from .logging import get_logger

ACQUIRE_TIMEOUT_S = 5.0
"""A caller waits this long for a free connection, then is told to come back; the same limit as `lock_timeout`."""
CONNECT_TIMEOUT_S = 5.0
START_TIMEOUT_S = 30.0
"""A server that is starting again is waited for by who starts meanwhile: to die of it would use up the restarts."""
START_RETRY_S = 0.2
COMMAND_TIMEOUT_S = 15.0
"""Above the roles' `transaction_timeout` of 10 s: the server gives up first, and says so."""
CLOSE_TIMEOUT_S = 5.0
INACTIVE_LIFETIME_S = 300.0
MAX_QUERIES = 2**31
"""asyncpg replaces a connection after 50,000 statements by default: every 25 s at 2,000/s, for nothing."""
CACHED_STATEMENTS = 256
"""More than the distinct statements of any service, so that none is prepared twice."""

_decode_json = msgspec.json.Decoder(float_hook=Decimal).decode

_DOWN_CLASSES = frozenset({"08", "53", "57"})
_DOWN_STATES = frozenset({"40001", "40P01", "55P03", "25P03", "25P04"})
# What the server says when it ends a session; said in answer to COMMIT it leaves open whether COMMIT was done.
_LOST_CLASSES = frozenset({"08", "57"})
_LOST_STATES = frozenset({"25P03", "25P04"})


class DatabaseUnavailable(Exception):
    """PostgreSQL cannot be reached, or no connection came free in time. Nothing was written; try again."""


class CommitOutcomeUnknown(Exception):
    """The connection was lost while COMMIT was under way: the transaction is in the database, or it is not."""


class TransactionFailed(Exception):
    """COMMIT rolled back, because an error of a statement inside the transaction had been swallowed."""


def columns(rows: Iterable[Sequence[Any]], width: int) -> list[Sequence[Any]]:
    """The rows turned for `unnest`, which takes an array a column; `width` arrays also of no rows."""
    return list(zip(*rows, strict=True)) or [()] * width


def is_down(error: BaseException) -> bool:
    """Whether the error speaks of the database's state and not of what was asked: the same may work later.

    Lost connections, time-outs, SQLSTATE classes 08, 53 and 57, serialisation failures, deadlocks, lock time-outs.
    """
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state[:2] in _DOWN_CLASSES or state in _DOWN_STATES
    return isinstance(error, DatabaseUnavailable | asyncpg.InternalClientError | ConnectionError | TimeoutError)


class _Connection(asyncpg.Connection):
    """A pooled connection that is given back without a round trip.

    asyncpg resets session state with a query at each release. Nothing here sets any: settings are SET LOCAL,
    advisory locks of pooled connections are of the transaction, LISTEN and session locks use `dedicated()`.
    asyncpg still rolls back a transaction that was left open.
    """

    __slots__ = ("_top_xact",)

    def get_reset_query(self) -> str:
        return ""

    async def commit(self) -> str:
        """Ends the transaction begun with `transaction().start()`; the answer is COMMIT, or ROLLBACK of a failed one.

        asyncpg's own commit() takes the answer ROLLBACK for success.
        """
        self._top_xact = None
        return await self.execute("COMMIT")


async def _prepare_connection(connection: asyncpg.Connection) -> None:
    """jsonb through msgspec: exact (Decimal in, Decimal out), and `msgspec.Raw` passes what is encoded already.

    numeric as text: taking a Decimal apart for the binary form costs asyncpg 1.6 µs, its text 0.6."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + encode_json(value),
        decoder=lambda data: _decode_json(data[1:]),
    )
    await connection.set_type_codec("numeric", schema="pg_catalog", format="text", encoder=str, decoder=Decimal)


def _is_lost(connection: asyncpg.Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        # The pool takes a connection back the moment it is cut, and then refuses even this question.
        return True


async def _roll_back(connection: asyncpg.Connection, transaction: asyncpg.transaction.Transaction) -> None:
    if _is_lost(connection):
        return
    try:
        await transaction.rollback()
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError):
        # The server rolls back what it has lost sight of; the error that brought us here is the one to tell.
        if not _is_lost(connection):
            connection.terminate()


async def _commit(connection: asyncpg.Connection) -> None:
    if _is_lost(connection):
        raise DatabaseUnavailable("the connection was lost before COMMIT")
    try:
        outcome = await cast(_Connection, connection).commit()
    except asyncio.CancelledError:
        connection.terminate()
        raise
    except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise CommitOutcomeUnknown(type(error).__name__) from error
    except asyncpg.PostgresError as error:
        state = error.sqlstate or ""
        if state[:2] in _LOST_CLASSES or state in _LOST_STATES:
            raise CommitOutcomeUnknown(f"{type(error).__name__} {state}") from error
        raise
    if outcome != "COMMIT":
        raise TransactionFailed(f"COMMIT answered {outcome}")


_PLANS_ONCE = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}


class Database:
    """A service's database. `async with Database(url, application_name="trading-0") as database: ...`"""

    def __init__(
        self,
        url: SecretStr | str,
        *,
        application_name: str,
        max_size: int = 6,
        acquire_timeout_s: float = ACQUIRE_TIMEOUT_S,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
        start_timeout_s: float = START_TIMEOUT_S,
        plans_once: bool = False,
    ) -> None:
        """`url` is `postgresql://…`; at most `max_size` connections are open.

        `plans_once`: each statement is planned once, for any values and by its indexes. Else PostgreSQL plans what takes
        arrays anew each time the arrays are short, which costs more than running it; and a plan that is kept from when a
        table was small would read all of it when it has grown."""
        self._acquire_timeout_s = acquire_timeout_s
        self._command_timeout_s = command_timeout_s
        self._start_timeout_s = start_timeout_s
        self._url = url.get_secret_value() if isinstance(url, SecretStr) else url
        self._application_name = application_name
        self._plans_once = plans_once
        self._max_size = max_size
        self._pool: asyncpg.Pool | None = None

    async def __aenter__(self) -> Self:
        """Waits for the server up to `start_timeout_s`; then, or where it refuses us, raises asyncpg's own error."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._start_timeout_s
        is_told = False
        while self._pool is None:
            try:
                self._pool = await self._open()
            except Exception as error:
                if not is_down(error) or loop.time() > deadline:
                    raise
                if not is_told:
                    get_logger(__name__).warning("database_waited_for", error=repr(error))
                    is_told = True
                await asyncio.sleep(START_RETRY_S)
        return self

    async def _open(self) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            self._url,
            # The first one shows at once whether the server is there. With a floor, asyncpg would go on trying by
            # itself while it is not, each time with a traceback: those who want a connection tell it already.
            init_size=1,
            min_size=0,
            max_size=self._max_size,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=self._command_timeout_s,
            max_queries=MAX_QUERIES,
            max_inactive_connection_lifetime=INACTIVE_LIFETIME_S,
            statement_cache_size=CACHED_STATEMENTS,
            connection_class=cast("type[asyncpg.Connection]", _Connection),
            init=_prepare_connection,
            server_settings=self._server_settings(),
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await pool.close()
        except TimeoutError:
            # asyncpg has cut the connections still held; their transactions roll back.
            get_logger(__name__).warning("database_closed_with_connections_in_use")

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for reads, each statement its own transaction."""
        pool = self._pool
        if pool is None:
            raise DatabaseUnavailable("the database is not open")
        try:
            proxy = await pool.acquire(timeout=self._acquire_timeout_s)
        except TimeoutError as error:
            raise DatabaseUnavailable(f"no connection came free within {self._acquire_timeout_s} s") from error
        except (OSError, asyncpg.InterfaceError, asyncpg.PostgresError) as error:
            raise DatabaseUnavailable(f"no connection: {type(error).__name__}") from error
        connection = cast(asyncpg.Connection, proxy)
        try:
            yield connection
        except asyncpg.InternalClientError as error:
            # A statement sent between the server's last word (FATAL) and the end of the connection meets a client
            # that is in the middle of neither. Nothing can be done with the connection any more.
            if not _is_lost(connection):
                connection.terminate()
            raise DatabaseUnavailable("the connection was lost") from error
        except asyncpg.InterfaceError as error:
            # asyncpg says "connection is closed" with the class it uses for wrong calls.
            if _is_lost(connection):
                raise DatabaseUnavailable("the connection was lost") from error
            raise
        finally:
            # Given back to where it comes from, also while that is being closed.
            await pool.release(proxy)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection inside a READ COMMITTED transaction, committed at the end of the block.

        Raises CommitOutcomeUnknown if the connection is lost, or COMMIT not answered, once COMMIT is under way;
        TransactionFailed if COMMIT found the transaction aborted. A block that raises is rolled back.
        A task cancelled during COMMIT sees CancelledError, and must take the outcome as unknown too.
        """
        async with self.connection() as connection:
            transaction = connection.transaction()
            try:
                await transaction.start()
            except asyncio.CancelledError:
                # BEGIN may be under way: given back like this, the connection would be found inside a transaction.
                connection.terminate()
                raise
            try:
                yield connection
            except BaseException:
                await _roll_back(connection, transaction)
                raise
            await _commit(connection)

    async def dedicated(self, **server_settings: str) -> asyncpg.Connection:
        """A connection of its own outside the pool, with the given server settings. The caller closes it."""
        connection = await asyncpg.connect(
            self._url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=self._command_timeout_s,
            statement_cache_size=CACHED_STATEMENTS,
            server_settings=self._server_settings() | server_settings,
        )
        await _prepare_connection(connection)
        return connection

    async def check(self) -> str | None:
        """For readiness: None when a statement is answered, else the reason."""
        try:
            async with self.connection() as connection:
                await connection.fetchval("SELECT 1", timeout=2)
        except Exception as error:
            if not (is_down(error) or isinstance(error, asyncpg.InterfaceError)):
                raise
            return str(error) or type(error).__name__
        return None

    def _server_settings(self) -> dict[str, str]:
        # Compiling a short statement costs more than running it.
        settings = {"application_name": self._application_name, "timezone": "UTC", "jit": "off"}
        return {**settings, **_PLANS_ONCE} if self._plans_once else settings
