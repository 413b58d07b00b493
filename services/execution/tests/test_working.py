"""What an algorithm has at a venue, and its parts: never more than the parent, whatever the venue does."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID

from fleet_execution.domain import (
    Canceled,
    CancelRejected,
    Filled,
    OrderKey,
    Stand,
    Stated,
    Terms,
    VenueOrder,
    refused,
    working,
)
from fleet_execution.domain.twap import Twap as Schedule
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
KEY = OrderKey.of(UUID(int=1), UUID(int=2), UUID(int=3), "AAPL/USD", "paper")
TERMS = Terms("buy", "limit", D(100), D(50), None, "gtc", None)


def test_parts_are_even_and_the_last_takes_the_rest() -> None:
    twap = Schedule(AT, duration_s=30, slices=3, lot=D(1))

    def wanted(seconds: float, filled: int) -> D:
        return twap.wanted(now=AT + timedelta(seconds=seconds), quantity=D(100), filled=D(filled))

    assert [wanted(0, 0), wanted(9.9, 0), wanted(10, 0), wanted(10, 33), wanted(20, 33)] == [33, 33, 66, 33, 67]
    assert wanted(20, 100) == wanted(30, 0) == 0
    assert twap.next_at(AT) == AT + timedelta(seconds=10)
    assert twap.next_at(AT + timedelta(seconds=20)) == AT + timedelta(seconds=30)
    assert twap.next_at(AT + timedelta(seconds=30)) is None


def test_a_pause_stops_its_time() -> None:
    twap = Schedule(AT, duration_s=30, slices=3, lot=D(1)).pause(AT + timedelta(seconds=5))
    later = AT + timedelta(hours=1)
    assert twap.wanted(now=later, quantity=D(99), filled=D(0)) == 0
    assert twap.next_at(later) is None
    twap = twap.resume(later)
    assert twap.next_at(later) == later + timedelta(seconds=5)
    assert twap.begun(later + timedelta(seconds=5)) == 2


def test_what_a_venue_states_of_a_part_is_told_once() -> None:
    """filled and told → the venue, asked where the part stands, says all fills again → only the one that is news is told"""
    at, fee = AT, D(1)
    first, second = (Filled(at, f"t{n}", D(5), D(50), D(5 * n), fee, "USD", "taker", at) for n in (1, 2))
    part = VenueOrder(KEY, TERMS, 1, Stand.WORKING, at, at, at, parent_ref=UUID(int=9))
    after, outcomes = part.learn(first, now=at)
    assert working.tell(part, after, outcomes) == ((KEY, first),)
    answer = Stated(at, Stand.WORKING, D(10), (first, second), None, None)
    stated, outcomes = after.learn(answer, now=at)
    assert working.tell(after, stated, outcomes) == ((KEY, second),)


def test_of_an_order_that_is_being_cancelled_it_is_not_said_that_it_works_on() -> None:
    """at the venue -> cancelled, which the venue has not answered: how it ends nobody knows -> refused: nor then -> gone"""
    world = _Venue(1, D(1))

    def told() -> list[Stand | None]:
        answers = working.query(world.parent, list(world.children.values()), market_at=world.now)
        return [answer.stand for _, answer in answers if isinstance(answer, Stated)]

    world.step()
    (part,) = world.children
    assert told() == [Stand.WORKING]
    world.take(working.cancel(world.parent, list(world.children.values()), now=AT, market_at=AT))
    assert told() == [None]
    world.learn(part, CancelRejected(AT, "too_late", ""))
    assert told() == [None]
    world.learn(part, Canceled(AT, "requested", "", D(0)))
    assert told() == [Stand.CANCELED]


class _Venue:
    """A naive venue and its client: the parent, the children, what is open at the venue and what was filled there."""

    def __init__(self, slices: int, lot: D) -> None:
        self.now = AT
        algo = Schedule(AT, 60, slices, lot)
        self.parent, _ = working.begin(KEY, TERMS, algo, command_sequence=1, market_at=AT, now=AT, refusal=None)
        self.children: dict[UUID, VenueOrder] = {}
        self.open: dict[UUID, D] = {}
        self.filled: dict[UUID, D] = {}
        self.look_at: datetime | None = None
        self.alarms = 0

    def take(self, work: working.Work) -> None:
        self.parent, self.look_at = work.parent, work.look_at or self.look_at
        self.alarms += work.is_alarming
        for child in work.children:
            if child.key.ref not in self.children:
                self.open[child.key.ref], self.filled[child.key.ref] = child.terms.quantity, D(0)
            self.children[child.key.ref] = child

    def step(self, refusal: str | None = None) -> None:
        self.look_at = None
        kids = list(self.children.values())
        self.take(
            working.step(
                self.parent, kids, now=self.now, market_at=self.now, refusal=refused(refusal) if refusal else None
            )
        )

    def learn(self, ref: UUID, fact: Any) -> None:
        before = self.children[ref]
        after, _ = before.learn(fact, now=self.now)
        self.children[ref] = after
        self.take(
            working.heard(self.parent, list(self.children.values()), before, after, now=self.now, market_at=self.now)
        )


moves = st.lists(
    st.tuples(
        st.sampled_from(["time", "fill", "confirm", "refuse", "lose", "pause", "resume", "halt", "cancel"]),
        st.integers(1, 40),
    ),
    max_size=40,
)


@given(moves, st.integers(2, 9), st.sampled_from([D(1), D("0.1"), D(7)]))
def test_what_is_filled_and_open_at_the_venue_is_never_more_than_the_parent(
    said: list[tuple[str, int]], slices: int, lot: D
) -> None:
    world = _Venue(slices, lot)
    world.step()
    unheard: list[tuple[UUID, Filled]] = []
    for move, size in said:
        ref = next(iter(world.open), None)
        kids = list(world.children.values())
        match move:
            case "time" | "halt":
                world.now += timedelta(seconds=size)
                world.step("market_halted" if move == "halt" else None)
            case "fill" | "lose" if ref is not None:
                last = min(D(size), world.open[ref])
                world.filled[ref] += last
                world.open[ref] -= last
                name = f"{ref}-{world.filled[ref]}"
                fill = Filled(world.now, name, last, D(50), world.filled[ref], D(0), "USD", "maker", world.now)
                if not world.open[ref]:
                    del world.open[ref]
                # A fill that is lost is told later, or counted by the venue when it confirms the cancel.
                if move == "lose":
                    unheard.append((ref, fill))
                else:
                    world.learn(ref, fill)
            case "confirm" if ref is not None and world.children[ref].is_cancel_pending:
                del world.open[ref]
                world.learn(ref, Canceled(world.now, "requested", "", world.filled[ref]))
            case "refuse" if ref is not None:
                world.learn(ref, CancelRejected(world.now, "no", "no"))
            case "pause":
                world.take(working.pause(world.parent, kids, now=world.now, market_at=world.now))
            case "resume":
                world.take(working.resume(world.parent, now=world.now))
                world.step()
            case "cancel" if not world.parent.stand.is_terminal:
                world.take(working.cancel(world.parent, kids, now=world.now, market_at=world.now))
            case _:
                pass
        assert sum(world.filled.values()) + sum(world.open.values()) <= TERMS.quantity
        assert len(world.open) <= 1
    for ref, fill in unheard:
        world.learn(ref, fill)
    heard = sum((c.cumulative_quantity for c in world.children.values()), D(0))
    assert world.parent.cumulative_quantity == heard == sum(world.filled.values())
    assert (world.parent.stand is Stand.FILLED) == (heard == TERMS.quantity) or world.parent.stand is Stand.CANCELED


def after_a_confirmed_cancel() -> tuple[_Venue, UUID, UUID]:
    """paused → its part's cancel confirmed → resumed: another part, of all 100"""
    world = _Venue(2, D(1))
    world.now += timedelta(seconds=30)
    world.step()
    (first,) = world.children
    world.take(working.pause(world.parent, list(world.children.values()), now=world.now, market_at=world.now))
    world.learn(first, Canceled(world.now, "requested", "", D(0)))
    world.take(working.resume(world.parent, now=world.now))
    world.step()
    (second,) = [ref for ref in world.children if ref != first]
    assert world.children[second].terms.quantity == 100
    return world, first, second


def test_a_fill_after_a_confirmed_cancel_shrinks_what_is_open() -> None:
    world, first, second = after_a_confirmed_cancel()
    world.learn(first, Filled(world.now, "late", D(50), D(50), D(50), D(0), "USD", "maker", world.now))
    assert world.parent.stand is not Stand.FILLED
    assert world.children[second].is_cancel_pending, "50 and 100 are more than 100"


def test_a_late_fill_that_completes_the_order_takes_out_what_is_open() -> None:
    """the first part's fill comes late and fills the order → the part at the venue is cancelled, asked about until it is
    gone"""
    world, first, second = after_a_confirmed_cancel()
    world.learn(first, Filled(world.now, "late", D(100), D(50), D(100), D(0), "USD", "maker", world.now))
    assert world.parent.stand is Stand.FILLED
    assert world.children[second].is_cancel_pending, "100 and 100 are more than 100"
    world.learn(second, CancelRejected(world.now, "no", "no"))
    world.now += timedelta(seconds=5)
    world.step()
    assert world.children[second].is_cancel_pending, "a refused cancel is said again in time"
    looks_again_at = world.look_at
    assert looks_again_at is not None
    world.learn(second, Canceled(world.now, "requested", "", D(0)))
    world.step()
    assert world.look_at is None
    assert world.parent.cumulative_quantity == 100


def test_a_cancel_that_is_refused_each_time_is_asked_for_ever_more_rarely() -> None:
    """too much is at the venue, which refuses to cancel it → asked again after 5 s, 10 s, … 5 minutes and a little, though
    fills and parts come meanwhile; someone is told once; it gives in → nothing is left of it"""
    world, first, second = after_a_confirmed_cancel()
    world.parent = replace(world.parent, algo=Schedule(AT, 60 * 60, 60, D(1)))
    world.learn(first, Filled(world.now, "late", D(50), D(50), D(50), D(0), "USD", "maker", world.now))
    pauses: list[float] = []
    for _ in range(12):
        assert world.children[second].is_cancel_pending
        world.now += timedelta(milliseconds=321)
        refused_at = world.now
        world.learn(second, CancelRejected(world.now, "no", "no"))
        assert not world.children[second].is_cancel_pending, "not asked again at once"
        fills = len(world.children[second].fills) + 1
        fill = Filled(world.now, f"f{fills}", D(1), D(50), D(fills), D(0), "USD", "maker", world.now)
        world.learn(second, fill)
        while not world.children[second].is_cancel_pending:
            assert world.look_at is not None
            world.now = world.look_at
            world.step()
        pauses.append((world.now - refused_at).total_seconds())
    expected = [5, 10, 20, 40, 80, 160, *[300] * 6]
    assert all(e <= pause <= e * 1.25 for e, pause in zip(expected, pauses, strict=True)), pauses
    assert world.alarms == 1
    world.learn(second, Canceled(world.now, "requested", "", D(12)))
    assert world.parent.algo is not None
    assert world.parent.algo.refusals is None, "the next part is another one"
