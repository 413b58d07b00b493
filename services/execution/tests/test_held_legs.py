"""Legs that execution holds, against a venue that loses, repeats, re-orders and refuses as it likes."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from uuid import UUID

import pytest
from fleet_execution.domain import (
    Accepted,
    Ask,
    Cancel,
    Canceled,
    CancelRejected,
    Change,
    Conditions,
    Filled,
    OrderKey,
    Outcome,
    Place,
    Rejected,
    Replaced,
    Stand,
    Stated,
    Terms,
    Triggered,
    VenueFact,
    VenueOrder,
    groups,
    held,
    refused,
)
from hypothesis import given, settings
from hypothesis import strategies as st

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
WHOLE = D(20)


def key(number: int) -> OrderKey:
    return OrderKey(UUID(int=number), UUID(int=8), UUID(int=9), "AAPL/USD", "paper")


ORDER = Terms("buy", "limit", WHOLE, D(100), None, "gtc", None)
PROFIT = Terms("sell", "limit", WHOLE, D(110), None, "gtc", None)
STOP = Terms("sell", "stop", WHOLE, None, D(85), "gtc", None, Conditions(stop_price=D(90)))
BRACKET = ORDER, groups.Legs(((key(2), PROFIT), (key(3), STOP)), are_oco=False, are_held=True)
OTO = ORDER, groups.Legs(((key(3), STOP),), are_oco=False, are_held=True)
OCO = PROFIT, groups.Legs(((key(3), STOP),), are_oco=True, are_held=True)


@dataclass
class AtVenue:
    quantity: D
    fills: list[Filled] = field(default_factory=list)
    stand: Stand = Stand.WORKING

    @property
    def filled(self) -> D:
        return sum((fill.last_quantity for fill in self.fills), D(0))

    @property
    def open(self) -> D:
        return self.quantity - self.filled if self.stand is Stand.WORKING else D(0)


class World:
    """A group, what is on its way in both directions, and a naive venue. Only its due row brings time to the group."""

    def __init__(self, terms: Terms, legs: groups.Legs) -> None:
        self.now = AT
        self.rows: dict[UUID, VenueOrder] = {}
        self.commands: list[tuple[UUID, Outcome]] = []
        self.facts: list[tuple[UUID, VenueFact]] = []
        self.venue: dict[UUID, AtVenue] = {}
        self.told: list[tuple[VenueOrder, Outcome]] = []
        self.look_at: datetime | None = None
        begun = groups.begin(key(1), terms, legs, command_sequence=1, market_at=AT, now=AT, refusal=None)
        self.root_ref = key(1).ref
        self.take(begun)

    @property
    def group(self) -> groups.Group:
        return groups.Group.of(self.rows[self.root_ref], self.rows.values())

    def take(self, step: groups.Step) -> None:
        self.rows.update({order.key.ref: order for order in step.changed})
        for order, outcome in step.told:
            if isinstance(outcome, Place | Cancel | Ask):
                self.commands.append((order.key.ref, outcome))
            else:
                self.told.append((order, outcome))
        self.look_at = step.look_at or self.look_at

    # Time, what is heard, what is wished

    def look(self, code: str | None = None) -> None:
        if self.look_at is not None and self.look_at <= self.now:
            self.look_at = None
            refusal = None if code is None else refused(code)
            self.take(held.step(self.group, now=self.now, market_at=self.now, refusal=refusal))

    def learn(self, ref: UUID, fact: VenueFact) -> None:
        before = self.rows[ref]
        after, outcomes = before.learn(fact, now=self.now)
        self.rows[ref] = after
        self.commands += [(ref, outcome) for outcome in outcomes if isinstance(outcome, Ask)]
        if after is not before:
            self.take(held.heard(self.group, before, after, outcomes, now=self.now, market_at=self.now))

    def cancel(self, number: int) -> None:
        self.take(held.cancel(self.group, self.rows[key(number).ref], now=self.now, market_at=self.now))

    def reprice(self, number: int, limit: D | None, stop: D | None) -> None:
        leg, change = self.rows[key(number).ref], Change(None, limit, stop, None)
        self.take(held.amend(self.group, leg, change, command_sequence=2, now=self.now, market_at=self.now))

    def cancel_root(self) -> None:
        root, outcomes = self.rows[self.root_ref].cancel(command_sequence=2, market_at=self.now, now=self.now)
        self.rows[self.root_ref] = root
        self.commands += [(self.root_ref, outcome) for outcome in outcomes if isinstance(outcome, Cancel)]

    # The venue

    def obey(self, *, refuses: bool = False) -> None:
        ref, command = self.commands.pop(0)
        order = self.venue.get(ref)
        match command:
            case Place(terms=terms) if order is None:
                self.venue[ref] = AtVenue(terms.quantity)
                self.facts.append((ref, Accepted(self.now)))
            case Cancel() if order is None or order.stand is not Stand.WORKING or refuses:
                self.facts.append((ref, CancelRejected(self.now, "no", "no")))
            case Cancel() if order is not None:
                order.stand = Stand.CANCELED
                self.facts.append((ref, Canceled(self.now, "requested", "", order.filled)))
            case Ask():
                if order is None:
                    self.facts.append((ref, Stated(self.now, None, D(0), (), None, None)))
                else:
                    stated = Stated(self.now, order.stand, order.filled, tuple(order.fills), "requested", "")
                    self.facts.append((ref, stated))
            case _:
                pass

    def fill(self, ref: UUID, quantity: D) -> None:
        order = self.venue[ref]
        upto = order.filled + quantity
        fill = Filled(self.now, f"{ref}-{upto}", quantity, D(1), upto, D(0), "USD", "maker", self.now)
        order.fills.append(fill)
        if upto == order.quantity:
            order.stand = Stand.FILLED
        self.facts.append((ref, fill))

    def move(self, move: str, number: int) -> None:
        working = [ref for ref, order in self.venue.items() if order.open]
        match move:
            case "flow":
                self.flow()
                self.look()
            case "time" | "halt":
                self.now += timedelta(seconds=number)
                self.look("market_halted" if move == "halt" else None)
            case "obey" | "refuse" if self.commands:
                self.obey(refuses=move == "refuse")
            case "lose" if self.commands and self.commands[0][0] != self.root_ref:
                self.commands.pop(0)
            case "fill" if working:
                ref = working[number % len(working)]
                self.fill(ref, min(D(number % 7 + 1), self.venue[ref].open))
            case "deliver" | "repeat" | "drop" if self.facts:
                self.hear(move, number % len(self.facts))
            case "cancel leg":
                self.cancel(3)
            case "cancel order" if self.group.order_class != "oco":
                self.cancel_root()
            case "reprice":
                self.reprice(3, None, D(80 + number))
            case _:
                pass

    def hear(self, how: str, at: int) -> None:
        ref, fact = self.facts[at]
        if how != "repeat":
            del self.facts[at]
        if how != "drop":
            self.learn(ref, fact)

    # What is true

    def filled(self, leg: VenueOrder) -> D:
        return sum((self.venue[c.key.ref].filled for c in self.children(leg) if c.key.ref in self.venue), D(0))

    def exposed(self, leg: VenueOrder) -> D:
        """What has filled of it, may fill at the venue, or is on its way there."""
        placed = {ref: command.terms.quantity for ref, command in self.commands if isinstance(command, Place)}
        at_venue = ((c.key.ref, self.venue.get(c.key.ref)) for c in self.children(leg))
        return self.filled(leg) + sum((o.open if o else placed.get(ref, D(0)) for ref, o in at_venue), D(0))

    def children(self, leg: VenueOrder) -> list[VenueOrder]:
        return self.group.children_of(leg)

    @property
    def whole(self) -> D:
        return WHOLE if self.group.order_class == "oco" else self.venue[self.root_ref].filled if self.venue else D(0)

    def check(self) -> None:
        for leg in self.group.legs:
            assert self.exposed(leg) <= self.whole, "no leg is ever larger than what it is there for"

    def flow(self) -> None:
        """Everything arrives."""
        while self.commands or self.facts:
            while self.commands:
                self.obey()
                self.check()
            while self.facts:
                self.learn(*self.facts.pop(0))
                self.check()

    def settle(self) -> None:
        """Everything arrives, and time goes on, until nothing happens any more."""
        for _ in range(60):
            self.flow()
            if self.look_at is None:
                # A comparison with the venue finds fills that were not told, and what became of the order itself.
                before = dict(self.rows)
                self.commands += [(ref, Ask(1)) for ref, row in before.items() if self.is_compared(row)]
                self.flow()
                if self.look_at is None and {r: _shape(o) for r, o in before.items()} == {
                    r: _shape(o) for r, o in self.rows.items()
                }:
                    return
            self.now = max(self.now, self.look_at or self.now)
            self.look()
            self.check()
        raise AssertionError("it does not come to rest")

    def is_compared(self, row: VenueOrder) -> bool:
        if row.is_held or row.stand.is_terminal:
            return False
        return row.key.ref == self.root_ref or (row.stand is Stand.WORKING and not row.is_cancel_pending)

    def check_quiet(self) -> None:
        filled = sum((self.filled(leg) for leg in self.group.legs), D(0))
        for leg in self.group.legs:
            open_there = self.exposed(leg) - self.filled(leg)
            assert leg.cumulative_quantity == self.filled(leg)
            assert not leg.is_cancel_pending
            assert leg.stand is not Stand.REJECTED, "what is lost on the way is sent anew"
            for child in self.children(leg):
                is_alike = child.terms.conditions.stop_price == leg.terms.conditions.stop_price
                assert child.stand.is_terminal or is_alike
            if leg.stand.is_terminal:
                assert open_there == 0
            else:
                assert open_there == max(self.whole - filled, D(0)), "exactly what is left"
                assert leg.terms.quantity == max(self.whole - filled, D(0)) + leg.cumulative_quantity


def _shape(order: VenueOrder) -> tuple[object, ...]:
    return order.stand, order.cumulative_quantity, order.terms, order.is_cancel_pending


MOVES = (
    *("flow", "flow", "fill", "fill", "obey", "deliver", "time", "halt"),
    *("lose", "refuse", "repeat", "drop", "cancel leg", "cancel order", "reprice"),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(MOVES), st.integers(0, 30)), min_size=10, max_size=60),
    st.sampled_from([BRACKET, OTO, OCO]),
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


@settings(max_examples=50, deadline=None)
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
