"""The last gate takes out what may not be open, by itself."""

from collections.abc import Sequence

from fleet_bus import Bus

from fleet_exchange_connector.service.orders import cancel_forbidden
from fleet_exchange_connector.store.unit_of_work import BOOK, Opening

AT_ONCE = 500
"""Orders in one transaction: about 0.1 s. All of a large book would take longer than a transaction may, each time anew."""


async def cancel_in_all_books(bus: Bus, unit_of_work: Opening, symbols: Sequence[str]) -> None:
    """What a halt forbids, or a deadline that has come."""
    for symbol in symbols:
        has_more = True
        while has_more:
            async with bus.transaction() as tx:
                work = unit_of_work(tx)
                await work.lock([BOOK + symbol])
                has_more = cancel_forbidden(work, symbol, AT_ONCE)
                await work.flush()
