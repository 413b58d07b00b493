"""One fleet on the simulated feed for all tests that do not break it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from whole_fleet import User, WholeFleet, whole_fleet


@pytest.fixture(scope="session")
def fleet() -> Iterator[WholeFleet]:
    with whole_fleet("simulated", port_offset=310) as running:
        yield running


@pytest.fixture
async def user(fleet: WholeFleet) -> AsyncIterator[User]:
    async with fleet.user() as made:
        yield made


@pytest.fixture
async def other_user(fleet: WholeFleet) -> AsyncIterator[User]:
    async with fleet.user() as made:
        yield made
