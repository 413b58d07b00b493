"""When an order that waits for a price is triggered, against the rule in one sentence; and what becomes of it then."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID

import pytest
from fleet_execution.domain import (
    NO_CONDITIONS,
    Accepted,
    Canceled,
    Change,
    Conditions,
    Filled,
    OrderKey,
    Place,
    Prices,
    Replaced,
    ReplaceRejected,
    Stand,
    Stated,
    Terms,
    Trigger,
    Triggered,
    VenueOrder,
    submit,
    triggers,
)
from hypothesis import given
from hypothesis import strategies as st

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
TICK = D("0.01")
KEY = OrderKey.of(UUID(int=1), UUID(int=8), UUID(int=9), "AAPL/USD", "outside")


def terms(side: str, order_type: str, *, limit: D | None = None, tif: str = "gtc", **conditions: object) -> Terms:
    return Terms(side, order_type, D(10), limit, D(99), tif, None, Conditions(**conditions))  # type: ignore[arg-type]


def waiting(asked: Terms) -> VenueOrder:
    order, _ = submit(KEY, asked, command_sequence=7, market_at=AT, now=AT, refusal=None)
    order, told = triggers.begin(order, Trigger(AT, TICK), now=AT)
    assert told == (Accepted(AT),)
    return order


STOP = terms("buy", "stop", stop_price=D(101))


def naive(asked: Terms, seen: list[tuple[D, D]]) -> int | None:
    """The first of the (bid, ask)s that triggers it."""
    is_buy, conditions = asked.side == "buy", asked.conditions
    taken = [ask if is_buy else bid for bid, ask in seen]
    for n, price in enumerate(taken):
        stop = conditions.stop_price
        if asked.order_type == "trailing_stop":
            best = min(taken[: n + 1]) if is_buy else max(taken[: n + 1])
            trail = conditions.trail_amount or best * (conditions.trail_percent or D(0)) / 100
            trail = -(-trail // TICK) * TICK
            stop = best + trail if is_buy else best - trail
        assert stop is not None
        rises = is_buy is not asked.order_type.endswith("if_touched")
        if price >= stop if rises else price <= stop:
            return n
    return None


prices = st.integers(9_000, 11_000).map(lambda cents: cents * TICK)
asked_orders = st.one_of(
    st.builds(
        lambda side, kind, stop: terms(side, kind, limit=D(100) if "limit" in kind else None, stop_price=stop),
        st.sampled_from(["buy", "sell"]),
        st.sampled_from(["stop", "stop_limit", "market_if_touched", "limit_if_touched"]),
        prices,
    ),
    st.builds(
        lambda side, trail: terms(side, "trailing_stop", **trail),
        st.sampled_from(["buy", "sell"]),
        st.sampled_from([{"trail_amount": D("0.50")}, {"trail_amount": D(5)}, {"trail_percent": D("1.5")}]),
    ),
)


@given(asked_orders, st.lists(st.tuples(prices, st.integers(0, 5)), min_size=1, max_size=30), st.data())
def test_it_is_triggered_by_the_first_price_that_the_rule_names_wherever_it_is_read_again(
    asked: Terms, quoted: list[tuple[D, int]], data: st.DataObject
) -> None:
    seen = [(bid, bid + spread * TICK) for bid, spread in quoted]
    order = waiting(asked)
    watch, found = triggers.Watch.of(order), None
    for n, (bid, ask) in enumerate(seen):
        price = watch.look(Prices(AT, bid, ask))
        if price is not None:
            assert price == (ask if asked.side == "buy" else bid)
            found = n
            break
        if data.draw(st.booleans()):
            # Its best price is written, and another process reads it.
            order = triggers.marked(order, watch.mark)
            assert not triggers.Watch.of(order).has_moved
            watch = triggers.Watch.of(order)
    assert found == naive(asked, seen)


@pytest.mark.parametrize(
    ("price", "is_triggered"), [("100.99", False), ("100.999", False), ("101", True), ("101.001", True)]
)
def test_a_price_between_two_ticks_does_not_trigger_early(price: str, is_triggered: bool) -> None:
    shown = triggers.Watch.of(waiting(STOP)).look(Prices(AT, None, D(price)))
    assert (shown is not None) is is_triggered
    assert triggers.Watch.of(waiting(STOP)).look(Prices(AT, D(200), None)) is None, "a buy takes from the ask"


def test_triggered_it_goes_to_its_venue_as_what_the_venue_has() -> None:
    later = AT + timedelta(minutes=3)
    order = waiting(terms("buy", "stop_limit", limit=D(102), stop_price=D(101), display_quantity=D(2)))
    released, (told, placed) = triggers.release(order, D(101), now=later, market_at=later)
    assert told == Triggered(later, D(101))
    assert isinstance(placed, Place)
    assert (placed.terms.order_type, placed.terms.limit_price) == ("limit", D(102))
    assert placed.terms.conditions == Conditions(display_quantity=D(2))
    assert (released.stand, released.terms) == (Stand.SENT, order.terms)
    working, told_again = released.learn(Accepted(later), now=later)
    assert (working.stand, told_again) == (Stand.WORKING, ()), "that it is accepted was told when we took it"
    fact = Replaced(later, D(8), D(103), None, D(0))
    _, (replaced,) = working.learn(fact, now=later)
    assert isinstance(replaced, Replaced)
    assert replaced.stop_price == D(101), "of which its venue knows nothing"
    (refused,) = working.amend(Change(None, None, D(99), None), command_sequence=2, market_at=later, now=later)
    assert refused == ReplaceRejected(later, "invalid_price", "the order has been triggered")
    assert triggers.at_venue(STOP) == Terms("buy", "market", D(10), None, D(99), "gtc", None, NO_CONDITIONS)


def test_one_that_waits_changes_and_ends_here() -> None:
    order = waiting(STOP)
    later = AT + timedelta(seconds=1)
    amended, (told,) = triggers.amend(
        order, Change(D(7), None, D(105), None), command_sequence=2, market_at=later, now=later
    )
    assert told == Replaced(later, D(7), None, D(105), D(0))
    assert triggers.Watch.of(amended).look(Prices(later, D(1), D(104))) is None
    for change, code in (
        (Change(None, D(100), None, None), "invalid_price"),
        (Change(None, None, D("100.001"), None), "invalid_price"),
        (Change(D(0), None, None, None), "invalid_quantity"),
    ):
        same, (refused,) = triggers.amend(order, change, command_sequence=2, market_at=later, now=later)
        assert same is order
        assert isinstance(refused, ReplaceRejected)
        assert refused.code == code
    (stated,) = order.query(command_sequence=3, market_at=later)
    assert isinstance(stated, Stated)
    assert stated.stand is Stand.WORKING
    canceled, told_end = order.cancel(command_sequence=4, market_at=later, now=later)
    assert (canceled.stand, told_end) == (
        Stand.CANCELED,
        (Canceled(later, "requested", "canceled on request", D(0)),),
    )


@pytest.mark.parametrize(
    ("tif", "has_gtd", "code"),
    [("gtc", False, None), ("ioc", False, None), ("gtd", True, None), ("gtd", False, "unsupported")]
    + [(tif, True, "unsupported") for tif in ("day", "at_open", "at_close")],
)
def test_how_long_it_can_wait(tif: str, has_gtd: bool, code: str | None) -> None:
    may_not = triggers.refusal(terms("buy", "stop", tif=tif, stop_price=D(101)), TICK, has_gtd=has_gtd)
    assert (may_not and may_not.code) == code


@pytest.mark.parametrize(
    "off", [{"stop_price": D("1.005")}, {"trail_amount": D("0.001")}, {"trail_percent": D("1.00001")}]
)
def test_what_is_off_the_grid_is_refused(off: dict[str, Any]) -> None:
    kind = "stop" if "stop_price" in off else "trailing_stop"
    may_not = triggers.refusal(terms("buy", kind, **off), TICK, has_gtd=False)
    assert may_not is not None
    assert may_not.code == "invalid_price"


def test_a_fill_of_what_was_triggered_counts_like_any_other() -> None:
    order, _ = triggers.release(waiting(STOP), D(101), now=AT, market_at=AT)
    fill = Filled(AT, "t1", D(10), D(101), D(10), D(0), "USD", "taker", AT)
    filled, told = order.learn(fill, now=AT)
    assert (filled.stand, told) == (Stand.FILLED, (fill,))
