"""Composition root: what this process is made of, and in which order it starts."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime
from functools import lru_cache, partial
from uuid import UUID

from fastapi import FastAPI
from fleet_bus import Bus, housekeeping
from fleet_bus.rest import observing
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
from fleet_gate import Deadlines, Gate, whenever

from fleet_exchange_connector import consumers, events
from fleet_exchange_connector.api import exchanges_router, replays_router, trades_router
from fleet_exchange_connector.domain.bars import Step, steps
from fleet_exchange_connector.domain.instruments import VENUE, offered
from fleet_exchange_connector.domain.orders import Restriction
from fleet_exchange_connector.domain.replays import Replay
from fleet_exchange_connector.feed import SimulatedFeed
from fleet_exchange_connector.halting import cancel_in_all_books
from fleet_exchange_connector.replay_rest import LooksForRest, ReplayRest, asking_all
from fleet_exchange_connector.settings import Settings
from fleet_exchange_connector.starting import begin_history_when_ready, start
from fleet_exchange_connector.store.books import BookCache
from fleet_exchange_connector.store.forgetting import FORGET, forget
from fleet_exchange_connector.store.markets import MarketRow
from fleet_exchange_connector.store.stocks import first_prices, stock_bars
from fleet_exchange_connector.store.unit_of_work import Stores, opening


def create_app(settings: Settings, *, clock: Clock | None = None, looks: LooksForRest | None = None) -> FastAPI:
    """The application; its lifespan opens the database, starts the bus, and then the feed.

    `looks` takes the place of the observer of the whole fleet, for who has no whole fleet."""
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
    is_replay = settings.feed == "replay"
    instruments = offered(settings.feed)
    row = None
    if not is_replay:
        row = MarketRow(instruments, seed=settings.exchange_connector_seed, stretches=settings.stretches)

    def restriction(symbol: str, account_id: UUID) -> Restriction:
        return Restriction(gate.state(symbol=symbol, venue=VENUE, account_id=account_id).value)

    # A command comes to its book when its way is over: the book itself knows of no latency.
    models, latency = replace(settings.models, latency=None), settings.models.latency
    unit_of_work = opening(
        Stores(instruments, models, latency, BookCache(), row, restriction, deadlines.is_over, events.publish)
    )
    rest = ReplayRest(database, bus.clock.now)
    bus.add(consumers.commands(unit_of_work))
    bus.add(housekeeping(FORGET, forget))
    if is_replay:
        bus.add(consumers.replay(unit_of_work, rest, _steps_of))
    else:
        for kind in consumers.simulated(unit_of_work, first_prices(instruments), settings):
            bus.add(kind)
    instances = Instances(settings.instances)
    client = ServiceClient(AssertionSigner(settings.service, settings.private_key_file, clock), instances)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(database)
            await stack.enter_async_context(client)
            await stack.enter_async_context(gate.running(health))
            await stack.enter_async_context(deadlines.running(health))
            if is_replay:
                observer = observing(
                    settings.kafka_url,
                    f"{settings.service}-{settings.ordinal}-observer",
                    asking_all(bus, client),
                    instances.all,
                    topic_prefix=settings.topic_prefix,
                )
                rest.looks = looks or await stack.enter_async_context(observer)
            await stack.enter_async_context(bus.running(health))
            await start(bus, unit_of_work, instruments, settings)
            background = await stack.enter_async_context(Background(health))
            cancel = partial(cancel_in_all_books, bus, unit_of_work, sorted(instruments))
            background.start("halting", whenever(gate.has_halt, cancel, bus))
            background.start("cancel_after", whenever(deadlines.has_passed, cancel, bus))
            if row is not None:
                feed = SimulatedFeed(bus, database, row, instruments)
                health.check("feed", feed.ready)
                background.start("feed", feed.run())
                background.start("history", begin_history_when_ready(bus, unit_of_work, instances))
            yield

    health.check("database", database.check)
    app = new_app(settings, "Tradefleet exchange-connector", lifespan, health)
    replaying = replays_router(
        bus, database, unit_of_work, feed=settings.feed, instruments=instruments, steps=_steps, ids=SystemIds()
    )
    exchanges = exchanges_router(bus, database, unit_of_work, row, instruments)
    trades = trades_router(bus, database, unit_of_work)
    for router in (gate.router, deadlines.router, exchanges, trades, replaying, internal_router(bus)):
        app.include_router(router)
    return app


@lru_cache(maxsize=4)
def _steps(symbols: tuple[str, ...], start_at: datetime, end_at: datetime) -> Sequence[Step]:
    return steps(stock_bars(), symbols, start_at, end_at)


def _steps_of(replay: Replay) -> Sequence[Step]:
    return _steps(replay.symbols, replay.start_at, replay.end_at)
