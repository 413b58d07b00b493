"""Routes: what the venue is, its feed, its replays."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Response
from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_chassis.ids import Ids
from fleet_chassis.logging import get_logger
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import AdminCaller, ReadCaller, StrategyCaller
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import Body, Day, DecimalString, Instant, Resource, Symbol
from pydantic import Field

from fleet_exchange_connector.domain.bars import Step, as_instant
from fleet_exchange_connector.domain.instruments import VENUE, Feed, Instrument
from fleet_exchange_connector.domain.market import FeedNotPaused, Market
from fleet_exchange_connector.domain.replays import MarketTimePast, NoBars, Phase, Replay, ReplayRunning, ReplayStatus
from fleet_exchange_connector.domain.times import minute_start
from fleet_exchange_connector.events import tell_feed_moved
from fleet_exchange_connector.service import market, replays
from fleet_exchange_connector.store import replays as stored
from fleet_exchange_connector.store.markets import MarketRow
from fleet_exchange_connector.store.unit_of_work import BOOK, MARKET, REPLAY_ID, Opening

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
Steps = Callable[[tuple[str, ...], datetime, datetime], Sequence[Step]]


log = get_logger("fleet_exchange_connector.api")


class ExchangeShown(Resource):
    """`state`: connected, or paused. `step` counts the minutes a simulated market has closed, `market_at` is its time."""

    venue: str
    kind: Literal["paper"]
    feed: str
    state: Literal["connected", "paused"]
    simulated: bool
    symbols: list[str]
    market_at: datetime | None
    step: int
    history_records_sent: int


class FeedBody(Body):
    action: Literal["pause", "resume", "step"]


class ReplayBody(Body):
    """`start` and `end`: days of New York, both included, or instants. `pace`: at most so many steps a second."""

    symbols: list[Symbol] = Field(min_length=1, max_length=100)
    timeframe: str = Field(max_length=10, examples=["1d"])
    start: Instant | Day = Field(examples=["2011-01-03"])
    end: Instant | Day = Field(examples=["2012-12-31"])
    pace: DecimalString | None = Field(default=None, ge=Decimal("0.001"), le=1000)


class ReplayShown(Resource):
    """`step` of `steps` have ended, `bars` of `bars_total` are published; `waiting_for` says what is not at rest."""

    replay_id: UUID
    status: ReplayStatus
    symbols: list[str]
    timeframe: str
    start: datetime = Field(validation_alias="start_at")
    end: datetime = Field(validation_alias="end_at")
    pace: DecimalString | None
    step: int
    steps: int
    phase: Phase
    market_at: datetime | None
    bars: int
    bars_total: int
    waiting_for: list[str]
    is_cancel_requested: bool
    reason: str | None
    created_at: datetime
    updated_at: datetime


def exchanges_router(
    bus: Bus, database: Database, unit_of_work: Opening, row: MarketRow | None, instruments: Mapping[str, Instrument]
) -> APIRouter:
    """`GET /exchanges` for everybody who may read, `POST /exchanges/paper/feed` for admins."""
    router = APIRouter(prefix="/api/v1/exchanges", tags=["exchanges"])

    @router.get("")
    async def list_exchanges(_caller: ReadCaller) -> Page[ExchangeShown]:
        """The venues of this fleet."""
        async with database.connection() as connection:
            if row is not None:
                shown = _exchange(await row.read(connection), Feed.SIMULATED, instruments, None)
            else:
                newest = await stored.newest(connection, 1, None)
                at = newest[0].market_at if newest else None
                shown = _exchange(None, Feed.REPLAY, instruments, at)
        return Page(data=[shown], next_cursor=None, has_more=False)

    @router.post(f"/{VENUE}/feed")
    async def move_feed(body: FeedBody, caller: AdminCaller) -> ExchangeShown:
        """Pauses, resumes or, while paused, steps the simulated market: a step is one round of quotes, and the bars of
        the last minute if it is over."""
        if row is None:
            raise Problem(409, "feed_is_replay", "A replay is moved by starting one, not by hand.")
        async with bus.transaction() as tx:
            work = unit_of_work(tx)
            await work.lock([MARKET, *(BOOK + symbol for symbol in instruments)])
            try:
                match body.action:
                    case "pause":
                        await market.pause(work, instruments)
                    case "resume":
                        await market.resume(work, instruments)
                    case "step":
                        await market.step(work, instruments)
            except FeedNotPaused as error:
                raise Problem(409, "feed_not_paused", "Only a paused feed can be stepped.") from error
            await work.flush()
            tell_feed_moved(tx, body.action, by=caller.user_id)
        return _exchange(work.market, Feed.SIMULATED, instruments, None)

    return router


def replays_router(
    bus: Bus,
    database: Database,
    unit_of_work: Opening,
    *,
    feed: str,
    instruments: Mapping[str, Instrument],
    steps: Steps,
    ids: Ids,
) -> APIRouter:
    """Replays: one at a time, started and ended by whoever may run strategies."""
    router = APIRouter(prefix=f"/api/v1/exchanges/{VENUE}/replays", tags=["exchanges"])

    @router.post("", status_code=202)
    async def start_replay(
        body: ReplayBody, caller: StrategyCaller, response: Response, idempotency_key: IdempotencyKey = None
    ) -> ReplayShown:
        """Starts a replay of stored bars. 409 `replay_running`, `market_time_past`, `feed_is_simulated`."""
        if feed != Feed.REPLAY:
            raise Problem(409, "feed_is_simulated", f"A replay needs the feed replay, was {feed}.")
        request_hash = hashlib.sha256(body.model_dump_json().encode()).digest()
        symbols = _known_symbols(body, instruments)
        start_at, end_at = _span(body)
        async with bus.transaction() as tx:
            work = unit_of_work(tx)
            asked = await work.asked(caller.user_id, idempotency_key)
            if asked is None:
                chosen = steps(symbols, start_at, end_at)
                replay = Replay(
                    replay_id=ids.new_id(),
                    user_id=caller.user_id,
                    symbols=symbols,
                    timeframe=body.timeframe,
                    start_at=start_at,
                    end_at=end_at,
                    pace=body.pace,
                    steps=len(chosen),
                    bars_total=sum(len(step.bars) for step in chosen),
                    created_at=work.now,
                    updated_at=work.now,
                )
                with _told_as_problems():
                    await replays.start(work, replay, chosen, idempotency_key, request_hash)
            elif asked.request_hash != request_hash:
                raise Problem(409, "idempotency_key_reused", "This Idempotency-Key came with another body before.")
            else:
                replay = asked.replay
                response.headers["Idempotent-Replayed"] = "true"
            await work.flush()
        log.info("replay_asked_for", replay_id=str(replay.replay_id), steps=replay.steps, symbols=replay.symbols)
        response.headers["Location"] = f"/api/v1/exchanges/{VENUE}/replays/{replay.replay_id}"
        return ReplayShown.model_validate(replay)

    @router.get("")
    async def list_replays(
        _caller: ReadCaller, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Page[ReplayShown]:
        """The fleet's replays, newest first."""
        before = None if cursor is None else decode_cursor(cursor, datetime, UUID)
        async with database.connection() as connection:
            found = await stored.newest(connection, limit + 1, before)
        shown = [ReplayShown.model_validate(replay) for replay in found]
        return Page.of(shown, limit, lambda one: (one.created_at, one.replay_id))

    @router.get("/{replay_id}")
    async def get_replay(replay_id: UUID, _caller: ReadCaller) -> ReplayShown:
        """How far a replay is, and what it waits for."""
        async with database.connection() as connection:
            replay = await stored.read(connection, replay_id)
        return ReplayShown.model_validate(_found(replay))

    @router.delete("/{replay_id}", status_code=202)
    async def end_replay(replay_id: UUID, _caller: StrategyCaller) -> ReplayShown:
        """Ends a replay after its present step; one that has ended stays as it is."""
        async with bus.transaction() as tx:
            work = unit_of_work(tx)
            await work.lock([f"{REPLAY_ID}{replay_id}"])
            replay = replays.end(work, _found(work.replay(replay_id)))
            await work.flush()
        return ReplayShown.model_validate(replay)

    return router


def _exchange(
    found: Market | None, feed: Feed, instruments: Mapping[str, Instrument], market_at: datetime | None
) -> ExchangeShown:
    return ExchangeShown(
        venue=VENUE,
        kind="paper",
        feed=feed,
        state="paused" if found is not None and found.is_paused else "connected",
        simulated=feed == Feed.SIMULATED,
        symbols=sorted(instruments),
        market_at=market_at if found is None else minute_start(found.minute),
        step=0 if found is None else found.step,
        history_records_sent=0 if found is None else found.history_next or 0,
    )


def _known_symbols(body: ReplayBody, instruments: Mapping[str, Instrument]) -> tuple[str, ...]:
    if body.timeframe != replays.TIMEFRAME:
        raise _invalid("timeframe", "unsupported_timeframe", f"Only {replays.TIMEFRAME} bars are stored.")
    unknown = sorted(set(body.symbols) - set(instruments))
    if unknown:
        raise _invalid("symbols", "unknown_symbol", f"There are no bars of {', '.join(unknown)}.")
    return tuple(sorted(set(body.symbols)))


def _span(body: ReplayBody) -> tuple[datetime, datetime]:
    """The instants from which and up to which bars are taken; a day as the end is included."""
    end = (
        body.end if isinstance(body.end, datetime) else min(body.end, date.max - timedelta(days=2)) + timedelta(days=1)
    )
    return as_instant(body.start).astimezone(UTC), as_instant(end).astimezone(UTC)


@contextlib.contextmanager
def _told_as_problems() -> Iterator[None]:
    try:
        yield
    except NoBars as error:
        raise _invalid("start", "no_bars", "There are no bars of these symbols in that time.") from error
    except ReplayRunning as error:
        raise Problem(409, "replay_running", f"One replay at a time; running is {error.replay_id}.") from error
    except MarketTimePast as error:
        raise Problem(409, "market_time_past", f"Market time never goes back: {error}.") from error


def _invalid(field: str, code: str, message: str) -> Problem:
    return Problem(422, code, message, errors=[FieldError(field=field, message=message, code=code)])


def _found(replay: Replay | None) -> Replay:
    if replay is None:
        raise Problem(404, "not_found", "There is no such replay.")
    return replay
