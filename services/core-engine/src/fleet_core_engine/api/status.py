"""How the fleet is: services, venues, the age of prices, the trading state."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta

import asyncpg
from fastapi import APIRouter
from fleet_bus import Bus, TableView
from fleet_calendars import OutsideCalendar, UnknownCalendar, last_day, next_session
from fleet_chassis.assertions import Caller
from fleet_chassis.database import Database
from fleet_chassis.permissions import ReadCaller
from fleet_chassis.shapes import Resource
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.data import BestQuote, InstrumentDefined
from fleet_contracts.exchange_connector import VenueStatus
from fleet_contracts.trading import Account
from fleet_contracts.vocabulary import StateScope, TradingStateWord, VenueStateWord

from fleet_core_engine.domain.freshness import is_stale
from fleet_core_engine.sessions import warning_of
from fleet_core_engine.store.alerts import stopped_quotes
from fleet_core_engine.store.states import shown_states
from fleet_core_engine.telling import Fleet, lag_of

from .shown import TradingStateShown


class InstanceShown(Resource):
    """`outbox` and `parked`: records not sent yet and keys set aside; null where an instance does not tell."""

    service: str
    ordinal: int
    is_ready: bool
    checks: dict[str, str]
    outbox: int | None
    parked: int | None
    ms: int


class LagShown(Resource):
    """How far a consumer group is behind, all replicas together: records that wait, and at the most so long. Null where
    that is not known: a replica does not answer (`group` null: none does) or does not hear Kafka."""

    service: str
    group: str | None
    records: int | None
    seconds: float | None


class VenueSession(Resource):
    """`changes_at`: when it closes, or opens next; null: its calendar does not say."""

    calendar: str
    is_open: bool
    changes_at: datetime | None


class VenueShown(Resource):
    """`state`: connected, disconnected, or silent where it says that it is connected and has not been heard for too long.
    `sessions`: of the calendars of what is traded there."""

    venue: str
    state: str
    feed: str
    heartbeat_at: datetime
    capabilities: list[str]
    detail: str | None
    sessions: list[VenueSession]


class DataShown(Resource):
    """The last price of a symbol: its market time, and on live feeds its age. `stopped_at`: since then, while its exchange was
    open, no quote has come (told on the channel `alerts`)."""

    symbol: str
    market_at: datetime
    age_s: float | None
    is_stale: bool
    stopped_at: datetime | None


class CalendarShown(Resource):
    """A calendar of the instruments: the session that is open or comes next. `warning`: it covers 60 days more at the most;
    `error`: it has ended, or nobody knows it."""

    calendar: str
    is_open: bool
    opens_at: datetime | None
    closes_at: datetime | None
    last_day: date | None
    warning: str | None
    error: str | None


class SystemStatus(Resource):
    """`states`: of accounts the caller's own, and whoever may restrict or audit any hears of all that are restricted."""

    feed: str
    as_of: datetime
    market_at: datetime | None
    is_ready: bool
    trading_state: TradingStateWord
    states: list[TradingStateShown]
    services: list[InstanceShown]
    lag: list[LagShown]
    venues: list[VenueShown]
    calendars: list[CalendarShown]
    data: list[DataShown]


def status_router(
    bus: Bus,
    database: Database,
    fleet: Fleet,
    *,
    venues: Sequence[TableView[VenueStatus]],
    silent_after: timedelta,
    quotes: TableView[BestQuote],
    instruments: TableView[InstrumentDefined],
    accounts: TableView[Account],
) -> APIRouter:
    """`GET /system/status`: from tables in memory and one call to each instance, so that it answers without Kafka."""
    router = APIRouter(prefix="/api/v1/system", tags=["system"])

    @router.get("/status")
    async def status(caller: ReadCaller) -> SystemStatus:
        """Services and their readiness, venues, the age of prices, the trading state."""
        async with database.connection() as connection:
            states = await shown_states(connection)
            stopped = await stopped_quotes(connection)
        instances = await fleet.status()
        now = bus.clock.now()
        is_live = bus.settings.feed != "replay"
        calendars = {
            name: _calendar(name, now if is_live else bus.market_at or now)
            for name in sorted({instrument.calendar for instrument in instruments.values()})
        }
        return SystemStatus(
            feed=bus.settings.feed,
            as_of=now,
            market_at=bus.market_at,
            is_ready=bool(instances) and all(instance.is_ready for instance in instances),
            trading_state=_of_system(states),
            states=[TradingStateShown.model_validate(state) for state in states if _may_see(state, caller, accounts)],
            services=[InstanceShown.model_validate(instance) for instance in instances],
            lag=[LagShown.model_validate(one) for one in lag_of(instances)],
            venues=[
                _venue(one, instruments.values(), calendars, heard_since=now - silent_after if is_live else None)
                for one in sorted((one for table in venues for one in table.values()), key=lambda one: one.venue)
            ],
            calendars=list(calendars.values()),
            data=[
                _data(quote, now if is_live else None, stopped.get(quote.symbol))
                for quote in sorted(quotes.values(), key=lambda q: q.symbol)
            ],
        )

    return router


def _of_system(states: Sequence[TradingStateChanged]) -> TradingStateWord:
    return next((state.state for state in states if state.scope is StateScope.SYSTEM), TradingStateWord.ACTIVE)


def _may_see(state: TradingStateChanged, caller: Caller, accounts: TableView[Account]) -> bool:
    if state.scope is not StateScope.ACCOUNT or not caller.scopes.isdisjoint(("admin", "audit")):
        return True
    account = accounts.get(state.target or "")
    return account is not None and account.user_id == caller.user_id


def _venue(
    venue: VenueStatus,
    instruments: Iterable[InstrumentDefined],
    calendars: Mapping[str, CalendarShown],
    *,
    heard_since: datetime | None,
) -> VenueShown:
    """`heard_since` None: a replay, on which no wall clock decides."""
    names = sorted({instrument.calendar for instrument in instruments if venue.venue in instrument.venues})
    shown = [calendars[name] for name in names]
    is_silent = heard_since is not None and venue.heartbeat_at < heard_since
    return VenueShown(
        venue=venue.venue,
        state="silent" if is_silent and venue.state is VenueStateWord.CONNECTED else venue.state,
        feed=venue.feed,
        heartbeat_at=venue.heartbeat_at,
        capabilities=list(venue.capabilities),
        detail=venue.detail,
        sessions=[
            VenueSession(
                calendar=one.calendar, is_open=one.is_open, changes_at=one.closes_at if one.is_open else one.opens_at
            )
            for one in shown
        ],
    )


def _data(quote: BestQuote, now: datetime | None, stopped: asyncpg.Record | None) -> DataShown:
    """`now` None: a replay, whose market stands still between its steps and whose prices do not age."""
    return DataShown(
        symbol=quote.symbol,
        market_at=quote.market_at,
        age_s=None if now is None else round((now - quote.market_at).total_seconds(), 3),
        is_stale=is_stale(quote.stale_after, now),
        stopped_at=None if stopped is None else stopped["stopped_at"],
    )


def _calendar(name: str, at: datetime) -> CalendarShown:
    try:
        session, ends, warning = next_session(name, at), last_day(name), warning_of(name, at)
    except (OutsideCalendar, UnknownCalendar) as error:
        return CalendarShown(
            calendar=name, is_open=False, opens_at=None, closes_at=None, last_day=None, warning=None, error=str(error)
        )
    return CalendarShown(
        calendar=name,
        is_open=session.opens_at <= at,
        opens_at=session.opens_at,
        closes_at=session.closes_at,
        last_day=ends,
        warning=warning,
        error=None,
    )
