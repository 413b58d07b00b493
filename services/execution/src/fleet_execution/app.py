"""execution's composition root."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from uuid import UUID

from fastapi import FastAPI
from fleet_bus import Bus, NotYet, housekeeping
from fleet_chassis.app import new_app
from fleet_chassis.background import Background
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.internal import internal_router
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.topics import DATA_INSTRUMENTS, TRADING_ACCOUNTS
from fleet_contracts.trading import Account
from fleet_contracts.vocabulary import TradingStateWord
from fleet_gate import Deadlines, Gate, whenever

from . import consumers
from .api import router
from .api_reconciliations import operators_router, reconciliations_router
from .domain import OrderKey, VenueOrder
from .settings import Settings
from .store.comparing import ROUND, ComparingPostgresUnitOfWork
from .store.forgetting import FORGET, forget
from .store.unit import PostgresUnitOfWork, watched
from .watching import PriceWatch


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
    gate = Gate(bus, database)
    deadlines = Deadlines(bus, database)
    accounts = bus.table(TRADING_ACCOUNTS, Account)
    instruments = bus.table(DATA_INSTRUMENTS, InstrumentDefined)
    venues = frozenset(settings.execution_venues)
    unit, comparing = PostgresUnitOfWork, ComparingPostgresUnitOfWork

    def refusal(key: OrderKey) -> str | None:
        if key.venue not in venues:
            return "unknown_venue"
        state = gate.state(symbol=key.symbol, venue=key.venue, account_id=key.account_id)
        return "market_halted" if state is TradingStateWord.HALTED else None

    def owner_of(account_id: UUID) -> UUID | None:
        account = accounts.get(str(account_id))
        return None if account is None else account.user_id

    def listed_at(venue: str) -> list[str]:
        return [found.symbol for found in instruments.values() if venue in found.venues]

    async def begin() -> None:
        async with bus.transaction() as tx:
            tx.schedule(FORGET, settings.service, 0, "wall", tx.now)
            for venue in venues:
                tx.schedule(ROUND, venue, consumers.STARTED, "wall", tx.now)

    def instrument_of(symbol: str) -> InstrumentDefined:
        found = instruments.get(symbol)
        if found is None:
            raise NotYet(f"instrument {symbol}")
        return found

    async def watched_orders() -> list[VenueOrder]:
        async with database.connection() as connection:
            return await watched(connection)

    watch = PriceWatch(bus.clock, watched_orders, consumers.looks(unit, bus, refusal))

    bus.add(consumers.commands(unit, refusal, instrument_of, is_over=deadlines.is_over))
    bus.add(consumers.steps(unit, refusal))
    bus.add(watch.subscription())
    bus.add(consumers.reports(comparing, settings.execution_venues))
    bus.add(consumers.statuses(comparing))
    bus.add(consumers.unknowns(comparing))
    bus.add(housekeeping(FORGET, forget))
    bus.add(
        consumers.rounds(
            comparing,
            listed_at,
            every=timedelta(seconds=settings.execution_reconcile_every_s),
            within=timedelta(seconds=settings.execution_answer_within_s),
            silent_after=timedelta(seconds=settings.execution_silent_after_s),
            listening_since=bus.clock.now(),
        )
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with database, gate.running(health), deadlines.running(health):
            # Before anything is handled: a round that is due is one at the start.
            await begin()
            async with bus.running(health), Background(health) as background:
                background.start("watch", watch.run())
                background.start(
                    "cancel_after",
                    whenever(deadlines.has_passed, partial(consumers.cut_off, unit, bus, deadlines), bus),
                )
                yield

    health.check("database", database.check)
    app = new_app(settings, "Tradefleet execution", lifespan, health)
    # The comparisons first: to the routes of one order their path is an order's.
    compared = reconciliations_router(bus, database, comparing)
    own, operators = router(bus, database, unit, owner_of, watch.bid), operators_router(bus, database, comparing)
    for routes in (gate.router, deadlines.router, compared, own, operators, internal_router(bus)):
        app.include_router(routes)
    return app
