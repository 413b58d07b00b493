"""When the quotes of a symbol have stopped, against the rules said one by one; and how far groups are behind."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fleet_contracts import data
from fleet_contracts.rest import Behind
from fleet_contracts.samples import sample
from fleet_core_engine.consumers import Known, awaited_quotes
from fleet_core_engine.domain.freshness import LastQuote
from fleet_core_engine.sessions import Sessions
from fleet_core_engine.telling import GroupLag, InstanceStatus, lag_of
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

NOW = datetime(2026, 1, 5, 15, 0, tzinfo=UTC)
TRUSTED = timedelta(seconds=10)
AGES = st.integers(0, 30).map(lambda seconds: timedelta(seconds=seconds))


@given(age=AGES, awaited=st.one_of(st.none(), AGES))
def test_quotes_have_stopped_when_none_came_for_as_long_as_one_is_trusted(
    age: timedelta, awaited: timedelta | None
) -> None:
    """`awaited`: so long the exchange has been open and we have listened; None: it is closed."""
    last = NOW - age
    quote = LastQuote("AAPL/USD", last, last + TRUSTED, None if awaited is None else NOW - awaited)
    assert quote.has_stopped(NOW) == (age > TRUSTED and awaited is not None and awaited > TRUSTED)
    assert quote.has_come_back(NOW) == (age <= TRUSTED)


def test_a_quote_that_is_good_as_long_as_the_market_stands_never_stops() -> None:
    quote = LastQuote("AAPL/USD", NOW, None, NOW)
    assert not quote.has_stopped(NOW + timedelta(days=9))


def test_after_a_silence_of_kafka_the_next_quote_gets_its_time_to_come() -> None:
    symbol = "AAPL/USD"
    quotes = {symbol: replace(sample(data.BestQuote), symbol=symbol, market_at=NOW, stale_after=NOW + TRUSTED)}
    instruments = {symbol: replace(sample(data.InstrumentDefined), symbol=symbol, calendar="24/7")}
    is_heard = True
    tables: Any = {"accounts": {}, "deployments": {}, "grants": {}, "instruments": instruments, "quotes": quotes}
    look = awaited_quotes(Known(**tables), Sessions(), is_listening=lambda: is_heard)

    def stopped(after_s: int) -> list[bool]:
        now = NOW + timedelta(seconds=after_s)
        return [quote.has_stopped(now) for quote in look(now)]

    assert stopped(0) == [False]
    assert stopped(11) == [True]
    is_heard = False
    assert stopped(60) == []
    is_heard = True
    assert [stopped(after_s) for after_s in (61, 71, 72)] == [[False], [False], [True]]


def instance(ordinal: int, behind: dict[str, Behind | None] | None, service: str = "trading") -> InstanceStatus:
    return InstanceStatus(service, ordinal, is_ready=True, checks={}, outbox=0, parked=0, behind=behind, ms=1)


def test_replicas_are_behind_together() -> None:
    one = instance(
        0, {"trading.reports": Behind(records=3, seconds=1.5), "trading.users": Behind(records=0, seconds=0)}
    )
    two = instance(1, {"trading.reports": Behind(records=4, seconds=0.5)})
    edge = instance(0, {}, "gateway")
    assert lag_of([two, edge, one]) == [
        GroupLag("trading", "trading.reports", 7, 1.5),
        GroupLag("trading", "trading.users", 0, 0),
    ]


def test_nothing_is_claimed_of_a_group_of_which_a_part_is_not_known() -> None:
    told = instance(0, {"trading.reports": Behind(records=3, seconds=1.5)})
    assert lag_of([told, instance(1, None)]) == [GroupLag("trading", "trading.reports", None, None)]
    assert lag_of([told, instance(1, {"trading.reports": None})]) == [
        GroupLag("trading", "trading.reports", None, None)
    ]
    assert lag_of([instance(0, None)]) == [GroupLag("trading", None, None, None)]
    unread = instance(1, {"trading.reports": Behind(records=1, seconds=None)})
    assert lag_of([told, unread]) == [GroupLag("trading", "trading.reports", 4, None)]
