"""trading's composition root."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

from fastapi import FastAPI
from fleet_bus import Bus, housekeeping
from fleet_chassis.app import new_app
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.background import Background
from fleet_chassis.calls import ServiceClient
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.ids import SystemIds
from fleet_chassis.instances import Instances
from fleet_chassis.internal import internal_router
from fleet_contracts.vocabulary import StateScope
from fleet_gate import LAST_GATES, Gate, Gates

from . import consumers
from .api import ROUTERS, Trading
from .api.hot_paths import add_hot_paths
from .api.orders import router as orders
from .events import Announcer
from .market import SeenMarket
from .order_path import OrderPath
from .risk_watch import RiskWatch
from .service.orders import OrderDesk
from .settings import Settings
from .store import AccountCache, Readings
from .store.holders import Holders
from .store.limits import SharedLimits
from .store.months import MONTHS, look_at_months


def create_app(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """The application; its lifespan opens the database, loads the trading states and starts the bus."""
    health = Health()
    database = Database(
        settings.database_url,
        application_name=f"{settings.service}-{settings.ordinal}",
        max_size=settings.database_connections,
        plans_once=True,
    )
    bus = Bus(settings, database, clock=clock)
    readings = Readings(database)

    async def knows(scope: StateScope, target: str) -> bool | None:
        if scope is StateScope.ACCOUNT:
            return await readings.owner_of(UUID(target)) is not None
        return None if scope is StateScope.VENUE else market.knows(target)

    gate = Gate(bus, database, knows=knows)
    is_live = settings.feed != "replay"
    send_by = timedelta(seconds=settings.trading_send_by_s) if is_live else None
    market = SeenMarket(bus, gate, is_live=is_live)
    order_path = OrderPath(bus, slow_after_s=settings.trading_slow_path_s if is_live else None)
    desk = OrderDesk(
        market=market,
        ids=SystemIds(),
        protection_factor=settings.trading_protection_factor,
        query_after=None if send_by is None else send_by + timedelta(seconds=settings.trading_query_after_s),
        is_path_slow=order_path.is_slow,
    )
    cache = AccountCache(settings.trading_cached_accounts)
    limits = SharedLimits()
    announcer = Announcer(market, send_by=send_by)
    client = ServiceClient(
        AssertionSigner(settings.service, settings.private_key_file, clock), Instances(settings.instances)
    )
    trading = Trading(
        settings=settings,
        bus=bus,
        market=market,
        announcer=announcer,
        desk=desk,
        readings=readings,
        cache=cache,
        limits=limits,
        last_gates=Gates(client, LAST_GATES, timeout_s=settings.trading_call_timeout_s),
    )
    risk_watch = RiskWatch(bus, cache, limits, market, Holders(database, cache, limits))
    bus.add(consumers.reports(trading.unit, market))
    bus.add(consumers.order_requests(trading.unit, desk, market))
    bus.add(consumers.users(trading.unit, market, settings.trading_opening_deposit))
    bus.add(consumers.unanswered(trading.unit))
    bus.add(consumers.resets(trading.unit, desk, market, settings.trading_opening_deposit))
    bus.add(consumers.forgetting())
    bus.add(housekeeping(MONTHS, look_at_months))
    bus.add(consumers.checking())
    bus.add(consumers.hourly_snapshots(trading.unit, market, is_live=is_live))
    bus.add(consumers.step_snapshots(trading.unit, market))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with database, client, gate.running(health), bus.running(health), Background(health) as background:
            background.start("order_path", order_path.watch())
            if is_live:
                background.start("risk_watch", risk_watch.watch(trading))
            yield

    health.check("database", database.check)
    health.check("market", _first_market(market, bus.clock, timedelta(seconds=settings.trading_market_wait_s)))
    app = new_app(settings, "Tradefleet trading", lifespan, health)
    app.state.trading = trading
    for router in ROUTERS:
        app.include_router(router)
    add_hot_paths(app, orders.routes)
    app.include_router(gate.router)
    app.include_router(internal_router(bus))
    return app


def _first_market(market: SeenMarket, clock: Clock, wait: timedelta) -> Callable[[], str | None]:
    """Not ready without a market, for a while after the start."""
    until = clock.now() + wait

    def check() -> str | None:
        return None if market.is_there or clock.now() >= until else "no instrument with a fresh price is known yet"

    return check
