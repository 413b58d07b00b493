"""Composition root: what this process is made of, and in which order it starts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI
from fleet_bus import Bus, Journaled
from fleet_chassis.app import new_app
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.calls import ServiceClient
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.instances import Instances
from fleet_chassis.internal import internal_router
from fleet_contracts.data import BestQuote, InstrumentDefined
from fleet_contracts.topics import DATA_INSTRUMENTS, DATA_QUOTES, VENUE_INTERNAL_COMMANDS
from fleet_gate import Deadlines, Gate
from fleet_simulator.book import Book, NaiveBook

from fleet_matching_engine import consumers
from fleet_matching_engine.api import books_router, internal_books_router, operators_router
from fleet_matching_engine.replicas import Replicas
from fleet_matching_engine.service import VenueMachine, World
from fleet_matching_engine.settings import Settings
from fleet_matching_engine.store import PostgresArchive


def create_app(settings: Settings, *, clock: Clock | None = None) -> FastAPI:
    """The application; its lifespan opens the database, loads the trading states and starts the bus with the journal."""
    health = Health()
    database = Database(
        settings.database_url,
        application_name=f"{settings.service}-{settings.ordinal}",
        max_size=settings.database_connections,
    )
    bus = Bus(settings, database, clock=clock)
    gate = Gate(bus, database)
    deadlines = Deadlines(bus, database)
    instruments = bus.table(DATA_INSTRUMENTS, InstrumentDefined)
    quotes = bus.table(DATA_QUOTES, BestQuote)
    world = World(
        rules=settings.rules,
        calendars=settings.matching_engine_calendars,
        instruments=instruments.values,
        quote=quotes.get,
        states=gate.held,
        is_alone=lambda: gate.is_alone,
        passed=lambda: (deadlines.passed, deadlines.version),
        now=bus.clock.now,
    )
    engine = engine_of(settings.matching_engine_book)
    is_replay = settings.feed == "replay"
    every = timedelta(seconds=settings.matching_engine_heartbeat_s)
    journal = bus.journal(
        Journaled(
            name="commands",
            topic=VENUE_INTERNAL_COMMANDS,
            machine=lambda number: VenueMachine(engine, number),
            wanted=world.news_for,
            ticks=not is_replay,
            snapshot_every=settings.matching_engine_snapshot_every,
            archive=PostgresArchive(database),
        )
    )
    if is_replay:
        # The market waits for us at each step. On a living one a moment is no matter, and quotes come all the time.
        quotes.on_change(lambda key, received: journal.wake())
    bus.add(consumers.listings(settings.matching_engine_calendars))
    if not is_replay:
        bus.add(consumers.heartbeat(settings.feed, every))

    client = ServiceClient(
        AssertionSigner(settings.service, settings.private_key_file, clock), Instances(settings.instances)
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with database, client, gate.running(health), deadlines.running(health), bus.running(health):
            async with bus.transaction() as tx:
                if not is_replay:
                    consumers.begin_heartbeat(tx, settings.feed, tx.now + every)
            yield

    health.check("database", database.check)
    if not is_replay:
        health.check("calendars", world.calendars_ended)
    app = new_app(settings, "Tradefleet matching-engine", lifespan, health)
    app.include_router(gate.router)
    app.include_router(deadlines.router)
    replicas = Replicas(client, settings.ordinal, timeout_s=settings.matching_engine_call_timeout_s)
    app.include_router(books_router(journal, bus.clock, replicas))
    app.include_router(internal_books_router(journal, bus.clock))
    app.include_router(operators_router(journal, bus))
    app.include_router(internal_router(bus))
    return app


def engine_of(name: str) -> type[Book]:
    """The compiled book brings numba with it, so it is imported only where it is asked for."""
    if name == "naive":
        return NaiveBook
    from fleet_simulator.book.fast import FastBook

    return FastBook
