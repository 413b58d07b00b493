"""core-engine's routes: the kill switch, and how the fleet is."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from fleet_bus import Bus, TableView
from fleet_chassis.assertions import UserCaller
from fleet_chassis.database import Database
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import Body, Resource, Symbol
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.data import BestQuote, InstrumentDefined
from fleet_contracts.exchange_connector import VenueStatus
from fleet_contracts.vocabulary import StateScope, TradingStateWord
from pydantic import Field, TypeAdapter, ValidationError

from . import service
from .store.states import PostgresStateUnitOfWork, current_states
from .telling import Fleet

_SYMBOL: TypeAdapter[str] = TypeAdapter(Symbol)
_STATES = {"halt": TradingStateWord.HALTED, "resume": TradingStateWord.ACTIVE}


class KillSwitchBody(Body):
    """`target`: the symbol, for scope `symbol` only. account, venue and reduce are not built yet: 422 `unsupported`."""

    scope: Literal["system", "symbol", "account", "venue"]
    target: str | None = Field(default=None, max_length=100)
    action: Literal["halt", "reduce", "resume"]
    reason: str = Field(min_length=1, max_length=500)


class TradingStateShown(Resource):
    scope: StateScope
    target: str | None
    state: TradingStateWord
    epoch: int
    version: int
    by: str
    reason: str
    changed_at: datetime


class InstanceTold(Resource):
    """`ok`: the instance obeys and keeps it; `unreachable` and `error`: it hears it by Kafka, when it can."""

    instance: str
    result: Literal["ok", "unreachable", "error"]
    ms: int
    detail: str | None


class KillSwitchAnswer(TradingStateShown):
    instances: list[InstanceTold]


class InstanceShown(Resource):
    """`outbox` and `parked`: records not sent yet and keys set aside; null where an instance does not tell."""

    service: str
    ordinal: int
    is_ready: bool
    checks: dict[str, str]
    outbox: int | None
    parked: int | None
    ms: int


class VenueShown(Resource):
    venue: str
    state: str
    feed: str
    heartbeat_at: datetime
    capabilities: list[str]
    detail: str | None


class DataShown(Resource):
    """The last price of a symbol: its market time, and on live feeds its age."""

    symbol: str
    market_at: datetime
    age_s: float | None
    is_stale: bool


class SystemStatus(Resource):
    feed: str
    as_of: datetime
    market_at: datetime | None
    is_ready: bool
    trading_state: TradingStateWord
    states: list[TradingStateShown]
    services: list[InstanceShown]
    venues: list[VenueShown]
    data: list[DataShown]


def kill_switch_router(bus: Bus, fleet: Fleet, instruments: TableView[InstrumentDefined]) -> APIRouter:
    """`POST /risk/kill-switch`: committed, told directly, and published when Kafka can carry it, in this order."""
    router = APIRouter(prefix="/api/v1/risk", tags=["risk"])

    @router.post("/kill-switch")
    async def kill_switch(body: KillSwitchBody, caller: UserCaller) -> KillSwitchAnswer:
        """Halts or resumes the system or a symbol; answers what each instance that must obey has said."""
        caller.require_scope("admin")
        scope, target = _scope_and_target(body, instruments)
        async with bus.transaction() as tx:
            change = await service.change_state(
                PostgresStateUnitOfWork(tx),
                scope,
                target,
                _STATES[body.action],
                by=str(caller.user_id),
                reason=body.reason,
            )
        told = await fleet.tell(change)
        return KillSwitchAnswer(
            **_shown(change).model_dump(), instances=[InstanceTold.model_validate(one) for one in told]
        )

    return router


def _scope_and_target(body: KillSwitchBody, instruments: TableView[InstrumentDefined]) -> tuple[StateScope, str | None]:
    if body.scope in ("account", "venue"):
        raise Problem(422, "unsupported", f"A state of this scope is not supported yet, was {body.scope}.")
    if body.action == "reduce":
        raise Problem(422, "unsupported", "This action is not supported yet, was reduce.")
    if body.scope == "system":
        if body.target is not None:
            raise _bad_target("The system has no target.")
        return StateScope.SYSTEM, None
    try:
        symbol = _SYMBOL.validate_python(body.target)
    except ValidationError as error:
        raise _bad_target("must be a symbol such as AAPL/USD") from error
    # Before Kafka has told any instrument nothing is known; a halt is then taken at its word.
    if len(instruments) and instruments.get(symbol) is None:
        raise Problem(422, "unknown_symbol", f"There is no such symbol, was {symbol}.")
    return StateScope.SYMBOL, symbol


def _bad_target(message: str) -> Problem:
    return Problem(
        422,
        "invalid_request",
        "The request does not have the expected shape.",
        errors=[FieldError("target", message, "target")],
    )


def status_router(
    bus: Bus,
    database: Database,
    fleet: Fleet,
    *,
    venues: TableView[VenueStatus],
    quotes: TableView[BestQuote],
) -> APIRouter:
    """`GET /system/status`: from tables in memory and one call to each instance, so that it answers without Kafka."""
    router = APIRouter(prefix="/api/v1/system", tags=["system"])

    @router.get("/status")
    async def status(caller: UserCaller) -> SystemStatus:
        """Services and their readiness, venues, the age of prices, the trading state."""
        caller.require_scope("read")
        async with database.connection() as connection:
            states = await current_states(connection)
        instances = await fleet.status()
        now = bus.clock.now()
        is_live = bus.settings.feed != "replay"
        return SystemStatus(
            feed=bus.settings.feed,
            as_of=now,
            market_at=bus.market_at,
            is_ready=bool(instances) and all(instance.is_ready for instance in instances),
            trading_state=_of_system(states),
            states=[_shown(state) for state in states],
            services=[InstanceShown.model_validate(instance) for instance in instances],
            venues=[VenueShown.model_validate(venue) for venue in sorted(venues.values(), key=lambda one: one.venue)],
            data=[_data(quote, now if is_live else None) for quote in sorted(quotes.values(), key=lambda q: q.symbol)],
        )

    return router


def _of_system(states: Sequence[TradingStateChanged]) -> TradingStateWord:
    return next((state.state for state in states if state.scope is StateScope.SYSTEM), TradingStateWord.ACTIVE)


def _shown(state: TradingStateChanged) -> TradingStateShown:
    return TradingStateShown.model_validate(state)


def _data(quote: BestQuote, now: datetime | None) -> DataShown:
    """`now` None: a replay, whose market stands still between its steps and whose prices do not age."""
    return DataShown(
        symbol=quote.symbol,
        market_at=quote.market_at,
        age_s=None if now is None else round((now - quote.market_at).total_seconds(), 3),
        is_stale=now is not None and quote.stale_after is not None and now > quote.stale_after,
    )
