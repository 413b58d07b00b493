"""Legs that execution holds, in a world of their own: what is on its way, and a naive venue that does as it is told to."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from uuid import UUID

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
    Stand,
    Stated,
    Terms,
    Trigger,
    VenueFact,
    VenueOrder,
    groups,
    held,
    refused,
)
from msgspec.structs import replace

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
WHOLE = D(20)
MOST_ROUNDS = 100


def key(number: int) -> OrderKey:
    return OrderKey.of(UUID(int=number), UUID(int=8), UUID(int=9), "AAPL/USD", "paper")


ORDER = Terms("buy", "limit", WHOLE, D(100), None, "gtc", None)
PROFIT = Terms("sell", "limit", WHOLE, D(110), None, "gtc", None)
STOP = Terms("sell", "stop", WHOLE, None, D(85), "gtc", None, Conditions(stop_price=D(90)))
BRACKET = ORDER, groups.Legs(((key(2), PROFIT), (key(3), STOP)), are_oco=False, are_held=True)
OTO = ORDER, groups.Legs(((key(3), STOP),), are_oco=False, are_held=True)
OCO = PROFIT, groups.Legs(((key(3), STOP),), are_oco=True, are_held=True)
AT_PRICE = {key(3).ref: Trigger(AT, D("0.01"))}
WATCHED_BRACKET = ORDER, replace(BRACKET[1], triggers=AT_PRICE)
WATCHED_OCO = PROFIT, replace(OCO[1], triggers=AT_PRICE)


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

    def elect(self) -> None:
        """The price of the stop comes; nobody looks at prices for a leg of nothing."""
        stop = self.rows[key(3).ref]
        if stop.is_watched and stop.terms.quantity and not stop.is_cancel_pending:
            self.take(held.elect(self.group, stop, D(90), now=self.now, market_at=self.now))

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
            case "elect":
                self.elect()
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
        if any(leg.trigger is not None for leg in self.group.legs):
            assert sum(map(self.exposed, self.group.legs)) <= self.whole, (
                "nor are both, where one waits for its price here"
            )

    def flow(self) -> None:
        """Everything arrives; what answers to answers must end by itself, as no time passes."""
        for _ in range(MOST_ROUNDS):
            if not (self.commands or self.facts):
                return
            while self.commands:
                self.obey()
                self.check()
            while self.facts:
                self.learn(*self.facts.pop(0))
                self.check()
        raise AssertionError("it does not come to rest without time")

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
                is_alike = (
                    leg.trigger is not None or child.terms.conditions.stop_price == leg.terms.conditions.stop_price
                )
                assert child.stand.is_terminal or is_alike
            if leg.stand.is_terminal:
                assert open_there == 0
            else:
                there = D(0) if leg.is_watched else max(self.whole - filled, D(0))
                assert open_there == there, "exactly what is left"
                assert leg.terms.quantity == max(self.whole - filled, D(0)) + leg.cumulative_quantity


def _shape(order: VenueOrder) -> tuple[object, ...]:
    return order.stand, order.cumulative_quantity, order.terms, order.is_cancel_pending
