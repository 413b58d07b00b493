"""What the venue says of itself: that it is there, and what it trades."""

from collections.abc import Iterable

from fleet_simulator import Fees

from fleet_exchange_connector.domain.instruments import Feed, Instrument
from fleet_exchange_connector.ports import InstrumentListed, TellingWork, VenueTold


def tell_status(work: TellingWork, feed: str) -> None:
    """The heartbeat, with whether the feed stands still."""
    is_paused = work.market is not None and work.market.is_paused
    work.publish(VenueTold(feed, work.now, "The feed is paused." if is_paused else None))


async def list_instruments(work: TellingWork, instruments: Iterable[Instrument], fees: Fees, feed: str) -> None:
    """What is traded and on which terms, where that has changed since it was last said."""
    is_simulated = feed == Feed.SIMULATED
    for instrument in instruments:
        calendar = "24/7" if is_simulated else "XNYS"
        listed = InstrumentListed(instrument, fees.maker, fees.taker, calendar, is_simulated)
        if await work.is_news(instrument.symbol, listed):
            work.publish(listed)
