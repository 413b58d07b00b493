"""data's composition root."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI
from fleet_bus import Bus
from fleet_chassis.app import new_app
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.internal import internal_router
from fleet_contracts.exchange_connector import VenueStatus
from fleet_contracts.topics import EXCHANGE_CONNECTOR_STATUS
from fleet_contracts.vocabulary import VenueStateWord

from . import consumers
from .api.history import history_router
from .api.markets import market_router
from .api.order_books import order_books_router
from .settings import Settings


def create_app(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """The application; its lifespan opens the database and starts the bus."""
    health = Health()
    database = Database(
        settings.database_url,
        application_name=f"{settings.service}-{settings.ordinal}",
        max_size=settings.database_connections,
    )
    bus = Bus(settings, database, clock=clock)
    venues = bus.table(EXCHANGE_CONNECTOR_STATUS, VenueStatus)
    is_replay = settings.feed == "replay"
    stale_after = timedelta(seconds=settings.data_quote_stale_after_s)
    silent_after = timedelta(seconds=settings.data_venue_silent_after_s)
    bus.add(consumers.instruments())
    bus.add(consumers.bars(is_replay=is_replay))
    bus.add(consumers.order_books())
    for part in consumers.market_data(
        stale_after=stale_after, keep_trades=timedelta(seconds=settings.data_keep_trades_s)
    ):
        bus.add(part)

    def is_connected(venue: str) -> bool:
        status = venues.get(venue)
        if status is None or status.state is not VenueStateWord.CONNECTED:
            return False
        return is_replay or bus.clock.now() - status.heartbeat_at <= silent_after

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(database)
            await stack.enter_async_context(bus.running(health))
            yield

    health.check("database", database.check)
    app = new_app(settings, "Tradefleet data", lifespan, health)
    app.include_router(order_books_router(database, now=bus.clock.now))
    app.include_router(history_router(database, now=bus.clock.now, is_live=not is_replay))
    app.include_router(
        market_router(
            database,
            now=bus.clock.now,
            is_connected=is_connected,
            stale_after=None if is_replay else stale_after,
        )
    )
    app.include_router(internal_router(bus))
    return app
