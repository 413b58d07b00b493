"""What is done at each start, and does nothing the second time: books, market, instruments, status, the past."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import aiohttp
from fleet_bus import Bus
from fleet_bus.failures import Streak, is_down
from fleet_chassis.instances import Instances
from fleet_chassis.logging import get_logger
from fleet_contracts import TOPICS

from fleet_exchange_connector.domain.instruments import Instrument
from fleet_exchange_connector.domain.market import Market
from fleet_exchange_connector.domain.times import minute_of
from fleet_exchange_connector.service import market
from fleet_exchange_connector.service.telling import list_instruments, tell_status
from fleet_exchange_connector.settings import Settings
from fleet_exchange_connector.store.stocks import first_prices
from fleet_exchange_connector.store.unit_of_work import MARKET, Opening

READY_POLL_S = 1.0
READY_TIMEOUT_S = 3.0
FLEET = frozenset({topic.owner for topic in TOPICS} | {reader.service for topic in TOPICS for reader in topic.readers})

log = get_logger("fleet_exchange_connector.starting")


async def start(bus: Bus, unit_of_work: Opening, instruments: Mapping[str, Instrument], settings: Settings) -> None:
    """Lists what is traded, and where the market is simulated, opens it and lets its time run."""
    async with bus.transaction() as tx:
        work = unit_of_work(tx)
        await work.add_books(instruments)
        await list_instruments(work, instruments.values(), settings.models.fees, settings.feed)
        if settings.feed == "replay":
            if await work.is_news("status", settings.feed):
                tell_status(work, settings.feed)
        else:
            await work.open_market(
                Market(
                    instruments=instruments,
                    seed=settings.exchange_connector_seed,
                    stretches=settings.stretches,
                    first_minute=minute_of(work.now),
                    minute=minute_of(work.now),
                    step=0,
                    prices=first_prices(instruments),
                    resumed_at=work.now,
                )
            )
            work.schedule_status(timedelta(0))
        await work.flush()


async def begin_history_when_ready(bus: Bus, unit_of_work: Opening, instances: Instances) -> None:
    """Lets the past be sent once every service is ready to take it, so that nobody starts with a backlog."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=READY_TIMEOUT_S)) as session:
        while not await _is_fleet_ready(session, instances):
            await asyncio.sleep(READY_POLL_S)
    down = Streak(first_s=READY_POLL_S, most_s=READY_POLL_S)
    while True:
        try:
            async with bus.transaction() as tx:
                work = unit_of_work(tx)
                await work.lock([MARKET])
                market.begin_history(work)
                await work.flush()
        except Exception as error:
            if not is_down(error):
                raise
            pause_s, is_told = down.failed()
            if is_told:
                log.warning("history_waits", error=repr(error))
            await asyncio.sleep(pause_s)
        else:
            break
    await asyncio.Event().wait()  # done; a background task that returns would end the process


async def _is_fleet_ready(session: aiohttp.ClientSession, instances: Instances) -> bool:
    found = instances.all()
    if FLEET - {instance.name for instance in found}:
        return False
    answers = await asyncio.gather(*(_is_ready(session, instance.url) for instance in found))
    return all(answers)


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health/ready") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
