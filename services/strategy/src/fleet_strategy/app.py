"""strategy's composition root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fleet_bus import Bus, housekeeping
from fleet_chassis.app import new_app
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.ids import Ids, SystemIds
from fleet_chassis.internal import internal_router
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.topics import DATA_INSTRUMENTS

from . import consumers
from .api import deployments, strategies
from .runtime import Runners
from .settings import Settings
from .store.forgetting import FORGET, forget


def create_app(settings: Settings, *, clock: Clock | None = None, ids: Ids | None = None) -> FastAPI:
    """The application; its lifespan opens the database and starts the bus. One process of it runs (a live reader)."""
    health = Health()
    database = Database(
        settings.database_url,
        application_name=f"{settings.service}-{settings.ordinal}",
        max_size=settings.database_connections,
    )
    bus = Bus(settings, database, clock=clock)
    instruments = bus.table(DATA_INSTRUMENTS, InstrumentDefined)
    runners = Runners()
    bus.add(consumers.market(runners))
    bus.add(consumers.steps_left(runners))
    bus.add(housekeeping(FORGET, forget))
    bus.add(consumers.outcomes())
    bus.add(consumers.activity())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with database, bus.running(health):
            yield

    health.check("database", database.check)
    app = new_app(settings, "Tradefleet strategy", lifespan, health)
    app.include_router(strategies.router(bus, database, ids or SystemIds()))
    app.include_router(
        deployments.router(
            bus,
            database,
            instruments,
            consumers.timeframes(settings.feed),
            most_of_a_user=settings.strategy_deployments_a_user,
        )
    )
    app.include_router(internal_router(bus))
    return app
