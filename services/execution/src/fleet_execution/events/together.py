"""Several orders in one record: a record costs its writer, Kafka and its reader far more than what it says."""

from collections.abc import Mapping, Set
from contextvars import Context, copy_context
from datetime import datetime
from typing import NamedTuple

from fleet_bus import Transaction
from fleet_contracts import Message, Topic
from fleet_contracts.exchange_connector import ORDER_BATCHES
from fleet_contracts.venue import PlaceVenueOrder, PlaceVenueOrders

from .topics import venue_of


class _Waiting(NamedTuple):
    """`trace`: that of the command behind it."""

    order: PlaceVenueOrder
    topic: Topic
    market_at: datetime | None
    trace: Context


class Together:
    """What one transaction says. New orders of a symbol wait for each other until something else is said of it.

    `capabilities` are those of each venue, as far as they are known when the orders are let go."""

    def __init__(self, transaction: Transaction, capabilities: Mapping[str, Set[str]]) -> None:
        self._tx = transaction
        self._capabilities = capabilities
        self._waiting: dict[tuple[str, str], list[_Waiting]] = {}

    def say(self, topic: Topic, key: str, message: Message, market_at: datetime | None = None) -> None:
        if isinstance(message, PlaceVenueOrder):
            waiting = _Waiting(message, topic, market_at, copy_context())
            self._waiting.setdefault((topic.name, key), []).append(waiting)
            return
        self._let_go((topic.name, key))
        self._tx.publish(topic, key, message, market_at=market_at)

    def end(self) -> None:
        for where in list(self._waiting):
            self._let_go(where)

    def _let_go(self, where: tuple[str, str]) -> None:
        waiting, (_, symbol) = self._waiting.pop(where, []), where
        if len(waiting) > 1 and ORDER_BATCHES in self._capabilities.get(venue_of(waiting[0].topic), ()):
            orders = PlaceVenueOrders(symbol=symbol, orders=tuple(each.order for each in waiting))
            self._publish(waiting[0], symbol, orders)
        else:
            for each in waiting:
                self._publish(each, symbol, each.order)

    def _publish(self, of: _Waiting, symbol: str, message: Message) -> None:
        of.trace.run(self._tx.publish, of.topic, symbol, message, market_at=of.market_at)
