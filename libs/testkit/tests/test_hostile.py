"""The hostile venue goes wrong only as far as it was told to."""

from datetime import UTC, datetime

import pytest
from fleet_bus import Bus
from fleet_contracts.vocabulary import VenueStateWord
from fleet_testkit.clock import FakeClock
from fleet_testkit.desk import Desk
from fleet_testkit.hostile import HostileVenue
from fleet_testkit.peers import Peers, Process


class Told(HostileVenue):
    """Its status goes into a list."""

    def __init__(self) -> None:
        bus = Bus(Process("hostile", "nowhere:1", ""), None)
        super().__init__(Desk(Peers(bus), "hostile", "AAPL/USD"), bus, FakeClock(datetime.now(UTC)), ())
        self.said: list[VenueStateWord] = []

    async def _status(self, state: VenueStateWord) -> None:
        self.said.append(state)


async def test_a_case_that_fails_while_the_venue_is_away_does_not_leave_it_away() -> None:
    venue = Told()
    with pytest.raises(AssertionError):
        async with venue.away():
            raise AssertionError("the case has failed")
    assert venue.said == [VenueStateWord.DISCONNECTED, VenueStateWord.CONNECTED]
