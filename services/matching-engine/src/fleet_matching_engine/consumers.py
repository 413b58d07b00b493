"""What reaches matching-engine besides its journal: instruments to be listed here, and the time of its heartbeat."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from fleet_bus import Due, DueKind, Received, Transaction, Work
from fleet_calendars import ROUND_THE_CLOCK
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.topics import DATA_INSTRUMENTS, MATCHING_ENGINE_INSTRUMENTS, MATCHING_ENGINE_STATUS

from fleet_matching_engine import events
from fleet_matching_engine.domain.rules import VENUE

HEARTBEAT = "heartbeat"


class Telling:
    """The unit of work of what only publishes: there is nothing to lock, and nothing kept but the outbox."""

    def __init__(self, transaction: Transaction) -> None:
        self.tx = transaction

    async def lock(self, ids: Sequence[str]) -> None:
        """Nothing is shared."""

    async def flush(self) -> None:
        """The transaction keeps what was published."""


def listings(calendars: Mapping[str, str]) -> Work:
    """Every instrument that a venue brings to the platform can be traded here too."""

    async def list_here(uow: Telling, received: Received[InstrumentDefined]) -> None:
        defined = received.message
        if VENUE not in defined.venues:
            uow.tx.publish(
                MATCHING_ENGINE_INSTRUMENTS,
                f"{defined.symbol},{VENUE}",
                events.listed(defined, calendars.get(defined.symbol, ROUND_THE_CLOCK)),
            )

    return Work(
        name="listings",
        topics=(DATA_INSTRUMENTS,),
        unit_of_work=Telling,
        touches=_nothing,
        handlers={InstrumentDefined: list_here},
    )


def heartbeat(feed: str, every: timedelta) -> DueKind:
    """The venue says that it is there; not on a replay."""

    async def tell(uow: Telling, _: Due) -> None:
        begin_heartbeat(uow.tx, feed, uow.tx.now + every)

    return DueKind(HEARTBEAT, "wall", Telling, _nothing, tell)


def begin_heartbeat(tx: Transaction, feed: str, next_at: datetime) -> None:
    """Says it now, and again at `next_at`."""
    tx.publish(MATCHING_ENGINE_STATUS, VENUE, events.status(feed, tx.now))
    tx.schedule(HEARTBEAT, VENUE, 0, "wall", next_at)


def _nothing(_: object) -> Iterable[str]:
    return ()
