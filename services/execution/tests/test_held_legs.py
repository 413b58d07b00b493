"""Legs that execution holds, against a venue that loses, repeats, re-orders and refuses as it likes."""

from datetime import timedelta
from decimal import Decimal as D
from uuid import UUID

import pytest
from fleet_execution.domain import (
    Accepted,
    Ask,
    Cancel,
    Canceled,
    Place,
    Rejected,
    Replaced,
    Stand,
    Stated,
    Terms,
    Triggered,
    VenueOrder,
    groups,
    held,
)
from held_world import BRACKET, OCO, OTO, WATCHED_BRACKET, WATCHED_OCO, WHOLE, World, key
from hypothesis import given, settings
from hypothesis import strategies as st

MOVES = (
    *("flow", "flow", "fill", "fill", "obey", "deliver", "time", "halt"),
    *("lose", "refuse", "repeat", "drop", "cancel leg", "cancel order", "reprice", "elect"),
)


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 30)), min_size=10, max_size=60),
    st.sampled_from([BRACKET, OTO, OCO, WATCHED_BRACKET, WATCHED_OCO]),
)
def test_no_leg_is_ever_too_large_and_at_quiet_each_is_as_large_as_it_may_be(
    moves: list[tuple[str, int]], which: tuple[Terms, groups.Legs]
) -> None:
    world = World(*which)
    for move, number in moves:
        world.move(move, number)
        world.check()
    world.settle()
    world.check_quiet()


def begun(which: tuple[Terms, groups.Legs], filled: int = 0) -> World:
    """A group whose order has filled so far, with its legs at the venue."""
    world = World(*which)
    world.flow()
    if filled:
        world.fill(world.root_ref, D(filled))
        world.flow()
    world.look()
    world.flow()
    return world


def leg(world: World, number: int) -> VenueOrder:
    return world.rows[key(number).ref]


def open_child(world: World, number: int) -> UUID:
    (found,) = [c.key.ref for c in world.children(leg(world, number)) if world.venue[c.key.ref].open]
    return found


def test_of_a_leg_that_is_being_cancelled_it_is_not_said_that_it_works_on() -> None:
    world = begun(BRACKET, filled=10)

    def told() -> list[Stand | None]:
        answers = held.query(world.group, leg(world, 3), market_at=world.now).told
        return [answer.stand for _, answer in answers if isinstance(answer, Stated)]

    assert told() == [Stand.WORKING]
    world.cancel(3)
    assert told() == [None]
    world.flow()
    assert told() == [Stand.CANCELED]


def placed(world: World) -> list[Place]:
    return [command for _, command in world.commands if isinstance(command, Place)]


def test_what_is_not_confirmed_to_be_gone_takes_the_room_of_what_replaces_it() -> None:
    world = begun(BRACKET, filled=10)
    world.reprice(3, None, D(95))
    old = open_child(world, 3)
    assert world.commands.pop() == (old, Cancel(1))
    for _ in range(3):
        world.now += timedelta(seconds=5)
        world.look()
        assert world.commands.pop() == (old, Ask(1)), "asked about, and nothing placed beside it"
    world.fill(old, D(4))
    world.venue[old].stand = Stand.CANCELED
    world.facts = [(old, Canceled(world.now, "requested", "", D(4)))]
    world.learn(*world.facts.pop())
    world.look()
    (new,) = placed(world)
    assert (new.terms.quantity, new.terms.conditions.stop_price) == (D(6), D(95)), "by the venue's count"


def test_one_legs_fill_makes_the_other_smaller_and_an_order_that_fills_on_makes_both_larger() -> None:
    world = begun(BRACKET, filled=10)
    world.fill(open_child(world, 2), D(4))
    world.flow()
    assert leg(world, 3).terms.quantity == 6
    world.look()
    assert [place.terms.quantity for place in placed(world)] == [6]
    world.flow()
    world.fill(world.root_ref, D(10))
    world.flow()
    world.now += held.APART
    world.look()
    assert [place.terms.quantity for place in placed(world)] == [10, 10], "beside what is open, not instead of it"
    codes = {(order.key.order_id.int, told.code) for order, told in world.told if isinstance(told, Replaced)}
    assert codes == {(2, "parent_filled"), (3, "parent_filled"), (3, "oco")}


def test_an_elected_leg_has_the_other_one_cancelled() -> None:
    world = begun(OCO)
    stop, profit = open_child(world, 3), open_child(world, 1)
    world.learn(stop, Triggered(world.now, D(90)))
    assert world.commands.pop() == (profit, Cancel(1))
    world.commands.append((profit, Cancel(1)))
    world.flow()
    assert (leg(world, 1).stand, leg(world, 1).code) == (Stand.CANCELED, "oco")
    world.fill(stop, WHOLE)
    world.flow()
    assert leg(world, 3).stand is Stand.FILLED
    assert [type(told) for order, told in world.told if order.key == key(3)] == [Accepted]


def test_a_leg_that_the_venue_rejects_ends_and_the_other_one_stays() -> None:
    world = World(*BRACKET)
    world.flow()
    world.fill(world.root_ref, D(10))
    world.flow()
    world.look()
    stop = next(
        ref for ref, command in world.commands if isinstance(command, Place) and command.terms.order_type == "stop"
    )
    world.learn(stop, Rejected(world.now, "price_band", "too far"))
    assert (leg(world, 3).stand, leg(world, 3).code) == (Stand.REJECTED, "price_band")
    assert world.told[-1][1] == Rejected(world.now, "price_band", "too far")
    assert leg(world, 2).stand is Stand.WORKING


def test_a_cancel_that_is_refused_for_a_fill_nobody_told_finds_the_fill() -> None:
    world = begun(OCO)
    stop, profit = open_child(world, 3), open_child(world, 1)
    world.fill(stop, WHOLE)
    world.facts.clear()
    world.fill(profit, D(1))
    world.settle()
    assert leg(world, 3).stand is Stand.FILLED


def test_cancels_that_are_refused_are_asked_for_again_when_time_comes_and_not_by_each_other() -> None:
    world = begun(BRACKET, filled=10)
    world.fill(world.root_ref, D(10))
    world.flow()
    world.now += held.APART
    world.look()
    world.flow()
    stops = [child.key.ref for child in world.children(leg(world, 3))]
    assert len(stops) == 2
    for ref in stops:
        world.fill(ref, D(10))
    world.facts.clear()
    world.cancel(3)
    world.flow()
    assert not any(child.is_cancel_pending for child in world.children(leg(world, 3)))
    world.settle()
    assert leg(world, 3).cumulative_quantity == WHOLE


def test_in_a_halt_nothing_is_placed_until_it_is_over() -> None:
    world = World(*BRACKET)
    world.flow()
    world.fill(world.root_ref, D(10))
    world.flow()
    for _ in range(2):
        world.look("market_halted")
        assert placed(world) == []
        world.now += held.AGAIN
    world.look()
    assert len(placed(world)) == 2


@pytest.mark.parametrize(("filled", "stand", "code"), [(0, Stand.CANCELED, "parent_ended"), (5, Stand.WORKING, None)])
def test_an_order_that_ends_leaves_its_legs_what_has_filled(filled: int, stand: Stand, code: str | None) -> None:
    world = begun(BRACKET, filled)
    world.cancel_root()
    world.flow()
    assert [(leg(world, number).stand, leg(world, number).code) for number in (2, 3)] == [(stand, code)] * 2
    if filled:
        world.fill(open_child(world, 2), D(filled))
        world.flow()
        assert (leg(world, 2).stand, leg(world, 3).stand, leg(world, 3).code) == (Stand.FILLED, Stand.CANCELED, "oco")


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 7)), min_size=5, max_size=40), st.sampled_from([BRACKET, OCO])
)
def test_without_a_race_the_legs_fill_what_there_is_and_no_more(
    fills: list[tuple[int, int]], which: tuple[Terms, groups.Legs]
) -> None:
    world = World(*which)
    world.flow()
    for which_one, quantity in fills:
        working = [ref for ref, order in world.venue.items() if order.open]
        if working:
            ref = working[which_one % len(working)]
            world.fill(ref, min(D(quantity), world.venue[ref].open))
        world.flow()
        world.now += held.APART
        world.look()
        world.flow()
        assert sum(world.filled(leg) for leg in world.group.legs) <= world.whole


def test_a_race_that_both_legs_win_is_told_and_leaves_nothing_open() -> None:
    world = begun(OCO)
    stop, profit = open_child(world, 3), open_child(world, 1)
    world.fill(stop, D(15))
    world.fill(profit, D(15))
    world.flow()
    world.settle()
    world.check_quiet()
    assert [leg(world, number).cumulative_quantity for number in (1, 3)] == [15, 15], "fills are facts"
    assert not any(order.open for order in world.venue.values())
    assert all(leg(world, number).stand.is_terminal for number in (1, 3))


def test_a_leg_that_waits_here_is_placed_when_the_other_one_is_gone() -> None:
    world = begun(WATCHED_BRACKET, filled=10)
    assert world.venue[open_child(world, 2)].quantity == 10
    assert world.children(leg(world, 3)) == []
    profit = open_child(world, 2)
    world.elect()
    assert world.commands == [(profit, Cancel(1)), (profit, Ask(1))]
    world.fill(profit, D(4))
    world.flow()
    world.look()
    (place,) = placed(world)
    assert (place.terms.order_type, place.terms.quantity, place.terms.protection_price) == ("market", D(6), D(85))
    told = [(order.key.order_id.int, type(fact)) for order, fact in world.told]
    assert (3, Triggered) in told
    assert (leg(world, 2).stand, leg(world, 2).code) == (Stand.CANCELED, "oco")
