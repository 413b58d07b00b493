"""core-engine's composition root."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI
from fleet_bus import Bus
from fleet_chassis.app import new_app
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.background import Background
from fleet_chassis.calls import ServiceClient
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.instances import Instances
from fleet_chassis.internal import internal_router
from fleet_contracts import data, strategy, trading
from fleet_contracts.exchange_connector import VenueStatus
from fleet_contracts.topics import (
    DATA_INSTRUMENTS,
    DATA_QUOTES,
    EXCHANGE_CONNECTOR_STATUS,
    MATCHING_ENGINE_STATUS,
    STRATEGY_DEPLOYMENTS,
    TRADING_ACCOUNTS,
    TRADING_GRANTS,
)
from fleet_gate import StateGates

from . import consumers
from .adopting import adopt_told
from .api import Targets, kill_switch_router, status_router
from .sessions import Sessions, warn_of_ends
from .settings import Settings
from .telling import Fleet


def create_app(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """The application; its lifespan opens the database and the client for direct calls, and starts the bus."""
    health = Health()
    database = Database(
        settings.database_url,
        application_name=f"{settings.service}-{settings.ordinal}",
        max_size=settings.database_connections,
    )
    bus = Bus(settings, database, clock=clock)
    known = consumers.Known(
        accounts=bus.table(TRADING_ACCOUNTS, trading.Account),
        deployments=bus.table(STRATEGY_DEPLOYMENTS, strategy.Deployment),
        grants=bus.table(TRADING_GRANTS, trading.Grant),
        instruments=bus.table(DATA_INSTRUMENTS, data.InstrumentDefined),
        quotes=bus.table(DATA_QUOTES, data.BestQuote),
    )
    venues = bus.table(EXCHANGE_CONNECTOR_STATUS, VenueStatus)
    own_venues = bus.table(MATCHING_ENGINE_STATUS, VenueStatus)
    max_age = None if settings.feed == "replay" else timedelta(seconds=settings.core_engine_signal_max_age_s)
    bus.add(consumers.bars(None if settings.feed == "replay" else known.quotes))
    sessions = Sessions()
    bus.add(consumers.signals(known, sessions, max_age=max_age, most_a_minute=settings.core_engine_signals_a_minute))
    bus.add(consumers.breaches())
    every = timedelta(seconds=settings.core_engine_heartbeat_s)
    if settings.feed != "replay":
        last_quotes = consumers.awaited_quotes(known, sessions, is_listening=lambda: bus.ready() is None)
        bus.add(consumers.heartbeat(every, last_quotes))
    signer = AssertionSigner(settings.service, settings.private_key_file, clock)
    client = ServiceClient(signer, Instances(settings.instances))
    fleet = Fleet(client, timeout_s=settings.core_engine_call_timeout_s)
    gates = StateGates(client, timeout_s=settings.core_engine_call_timeout_s)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        warn_of_ends(bus.clock.now())
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(database)
            await stack.enter_async_context(client)
            await stack.enter_async_context(bus.running(health))
            if settings.feed != "replay":
                async with bus.transaction() as tx:
                    consumers.begin_heartbeat(tx, every)
            background = await stack.enter_async_context(Background(health))
            background.start("adopt", adopt_told(bus, database, gates, every_s=settings.core_engine_adopt_s))
            yield

    health.check("database", database.check)
    app = new_app(settings, "Tradefleet core-engine", lifespan, health)
    app.include_router(kill_switch_router(bus, gates, Targets(known.instruments, venues, known.accounts)))
    app.include_router(
        status_router(
            bus,
            database,
            fleet,
            venues=(venues, own_venues),
            silent_after=timedelta(seconds=settings.core_engine_venue_silent_after_s),
            quotes=known.quotes,
            instruments=known.instruments,
            accounts=known.accounts,
        )
    )
    app.include_router(internal_router(bus))
    return app
