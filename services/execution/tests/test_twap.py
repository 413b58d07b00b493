"""TWAP: never more than the parent, whatever the venue does; parts, pause, resume and cancel over Kafka."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID

import msgspec
from fleet_contracts import execution, venue
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.topics import DATA_INSTRUMENTS, TRADING_ACCOUNTS
from fleet_contracts.trading import Account, CancelOrder, QueryOrder, SubmitOrder, Twap
from fleet_contracts.vocabulary import Liquidity, OrderType, TimeInForce
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
from fleet_testkit.eventually import eventually
from hypothesis import given
from hypothesis import strategies as st

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

    def take(self, work: working.Work) -> None:
        self.parent, self.look_at = work.parent, work.look_at
        for child in work.children:
            if child.key.ref not in self.children:
                self.open[child.key.ref], self.filled[child.key.ref] = child.terms.quantity, D(0)
            self.children[child.key.ref] = child

    def step(self, refusal: str | None = None) -> None:
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
        gave_way = before.is_cancel_pending and after.stand.is_terminal and not before.stand.is_terminal
        kids = list(self.children.values())
        self.take(working.heard(self.parent, kids, gave_way, now=self.now, market_at=self.now))


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


def test_a_fill_after_a_confirmed_cancel_shrinks_what_is_open() -> None:
    world = _Venue(2, D(1))
    world.step()
    (first,) = world.children
    world.now += timedelta(seconds=30)
    world.step()
    world.learn(first, Canceled(world.now, "requested", "", D(0)))
    world.step()
    (second,) = [ref for ref in world.children if ref != first]
    assert world.children[second].terms.quantity == 100
    world.learn(first, Filled(world.now, "late", D(50), D(50), D(50), D(0), "USD", "maker", world.now))
    assert world.children[second].is_cancel_pending, "50 and 100 are more than 100"


def test_a_late_fill_that_completes_the_order_takes_out_what_is_open() -> None:
    """paused → its part's cancel confirmed → resumed: another part → the first one's fill comes late and fills the order →
    the part at the venue is cancelled, asked about until it is gone"""
    world = _Venue(2, D(1))
    world.now += timedelta(seconds=30)
    world.step()
    (first,) = world.children
    world.take(working.pause(world.parent, list(world.children.values()), now=world.now, market_at=world.now))
    world.learn(first, Canceled(world.now, "requested", "", D(0)))
    world.take(working.resume(world.parent, now=world.now))
    world.step()
    (second,) = [ref for ref in world.children if ref != first]
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


def a_twap(order: SubmitOrder, **changed: Any) -> SubmitOrder:
    fields = {"algo": Twap(duration_s=40, slices=4), "quantity": D(10), "symbol": "IBM/USD"} | changed
    return msgspec.structs.replace(order, **fields)


def filled(place: venue.PlaceVenueOrder, quantity: D) -> venue.VenueOrderFilled:
    return venue.VenueOrderFilled(
        venue_order_ref=place.venue_order_ref,
        account_id=place.account_id,
        market_at=AT,
        venue_trade_id=f"{place.venue_order_ref}-{quantity}",
        last_quantity=quantity,
        last_price=D(100),
        cumulative_quantity=quantity,
        fee=D(0),
        fee_currency="USD",
        liquidity=Liquidity.TAKER,
        executed_at=AT,
    )


def canceled(place: venue.PlaceVenueOrder, quantity: int = 0) -> venue.VenueOrderCanceled:
    return venue.VenueOrderCanceled(
        venue_order_ref=place.venue_order_ref,
        account_id=place.account_id,
        market_at=AT,
        code="requested",
        detail="",
        cumulative_quantity=D(quantity),
    )


async def begun(service: Any, order: SubmitOrder) -> dict[str, str]:
    """Has the instrument and the account known; the headers of the order's owner."""
    instrument = InstrumentDefined(
        symbol=order.symbol,
        name="IBM",
        asset_class="stock",
        base="IBM",
        quote="USD",
        tick_size=D("0.0001"),
        lot_size=D(1),
        min_quantity=D(1),
        min_notional=D(1),
        maker_fee=D(0),
        taker_fee=D(0),
        venues=("paper",),
        reference_venue="paper",
        calendar="24/7",
        simulated=True,
        version=1,
    )
    account = Account(
        account_id=order.account_id,
        user_id=order.user_id,
        name="Paper",
        kind="paper",
        status="active",
        is_default=True,
        base_currency="USD",
        version=1,
    )
    await service.peers.say(
        (DATA_INSTRUMENTS, order.symbol, instrument), (TRADING_ACCOUNTS, str(order.account_id), account)
    )
    headers: dict[str, str] = service.keys.of_user("execution", order.user_id, "read", "trade")
    return headers


def places(service: Any, order: SubmitOrder) -> list[venue.PlaceVenueOrder]:
    found: list[venue.PlaceVenueOrder] = service.sent(venue.PlaceVenueOrder, order.account_id)
    return found


async def part(service: Any, order: SubmitOrder, number: int) -> venue.PlaceVenueOrder:
    return (await eventually(lambda: places(service, order)[number - 1 :], what=f"part {number}"))[0]


async def progress(service: Any, order: SubmitOrder, headers: dict[str, str]) -> dict[str, Any]:
    async def shown() -> Any:
        status, body = await service.get(str(order.order_id), headers)
        return body["algo"] if status == 200 else None

    found: dict[str, Any] = await eventually(shown)
    return found


async def test_a_market_order_goes_in_parts_that_make_up_for_each_other(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    service, order = execution_service, a_twap(an_order)
    headers = await begun(service, order)
    await service.command(order)
    first = await part(service, order, 1)
    assert (first.quantity, first.order_type, first.protection_price) == (D(2), OrderType.MARKET, D("105.5"))
    await service.report(filled(first, D(2)), symbol=order.symbol)
    await eventually(lambda: service.told(order.account_id)[1:])
    service.clock.advance(seconds=10)
    second = await part(service, order, 2)
    assert second.quantity == 3
    # Nothing of the second is taken; the third is as large as both.
    await service.report(canceled(second), symbol=order.symbol)
    service.clock.advance(seconds=10)
    third = await part(service, order, 3)
    assert third.quantity == 5
    await service.report(filled(third, D(5)), symbol=order.symbol)
    assert (await progress(service, order, headers))["slices_begun"] == 3
    service.clock.advance(seconds=10)
    fourth = await part(service, order, 4)
    await service.report(filled(fourth, D(3)), symbol=order.symbol)
    told = await eventually(lambda: service.told(order.account_id)[3:] and service.told(order.account_id))
    assert [type(r).__name__ for r in told] == ["OrderAccepted", "OrderFilled", "OrderFilled", "OrderFilled"]
    assert {r.order_id for r in told} == {order.order_id}
    assert len({r.trade_id for r in told[1:]}) == 3
    shown = await progress(service, order, headers)
    assert (shown["state"], shown["filled_quantity"], shown["next_at"]) == ("ended", "10", None)


async def test_a_limit_part_is_cancelled_and_confirmed_before_the_next_and_the_rest_ends_with_its_time(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    service = execution_service
    order = a_twap(
        an_order,
        order_type=OrderType.LIMIT,
        limit_price=D(90),
        protection_price=None,
        time_in_force=TimeInForce.GTC,
        algo=Twap(duration_s=20, slices=2),
    )
    headers = await begun(service, order)
    await service.command(order)
    first = await part(service, order, 1)
    service.clock.advance(seconds=10)
    await eventually(lambda: service.sent(venue.CancelVenueOrder, order.account_id))
    # The cancel's answer is lost: it asks, and sends nothing meanwhile.
    service.clock.advance(seconds=6)
    query = QueryOrder(
        order_id=order.order_id,
        account_id=order.account_id,
        user_id=order.user_id,
        symbol=order.symbol,
        venue="paper",
        attempt=1,
    )
    await service.command(query)
    state = await eventually(lambda: [r for r in service.told(order.account_id) if isinstance(r, execution.OrderState)])
    assert state[0].stand == "working"
    assert len(places(service, order)) == 1
    await service.report(canceled(first, 4), filled(first, D(4)), symbol=order.symbol)
    second = await part(service, order, 2)
    assert second.quantity == 6, "the venue's count is what it was sized from"
    service.clock.advance(seconds=10)
    await eventually(lambda: len(service.sent(venue.CancelVenueOrder, order.account_id)) == 2)
    await service.report(canceled(second), symbol=order.symbol)

    def ends() -> list[execution.OrderCanceled]:
        return [r for r in service.told(order.account_id) if isinstance(r, execution.OrderCanceled)]

    (end,) = await eventually(ends)
    assert (end.code, end.cumulative_quantity) == ("algo_ended", D(4))
    assert (await progress(service, order, headers))["code"] == "algo_ended"
    assert (await service.post(f"{order.order_id}/pause", headers))[1]["code"] == "order_closed"


async def test_it_is_paused_resumed_and_cancelled(execution_service: Any, an_order: SubmitOrder) -> None:
    service = execution_service
    order = a_twap(an_order, order_type=OrderType.LIMIT, limit_price=D(90), time_in_force=TimeInForce.GTC)
    headers = await begun(service, order)
    await service.command(order)
    first = await part(service, order, 1)
    await progress(service, order, headers)
    status, body = await service.post(f"{order.order_id}/pause", headers)
    assert (status, body["algo"]["state"]) == (200, "paused")
    await eventually(lambda: service.sent(venue.CancelVenueOrder, order.account_id))
    await service.report(canceled(first), symbol=order.symbol)
    service.clock.advance(seconds=600)
    status, body = await service.post(f"{order.order_id}/resume", headers)
    assert (status, body["algo"]["state"], body["algo"]["slices_begun"]) == (200, "working", 1)
    second = await part(service, order, 2)
    assert second.quantity == 2
    named = {name: getattr(order, name) for name in ("order_id", "account_id", "user_id", "symbol", "venue")}
    await service.command(CancelOrder(**named, request=4))
    await eventually(lambda: len(service.sent(venue.CancelVenueOrder, order.account_id)) == 2)
    await service.report(canceled(second, 1), filled(second, D(1)), symbol=order.symbol)
    told = await eventually(lambda: service.told(order.account_id)[2:] and service.told(order.account_id))
    assert [type(r).__name__ for r in told] == ["OrderAccepted", "OrderCanceled", "OrderFilled"]
    assert (told[1].code, told[1].cumulative_quantity) == ("requested", 1)
    await service.command(CancelOrder(**named, request=6))
    refused = await eventually(lambda: service.told(order.account_id)[3:])
    assert [(r.code, r.request) for r in refused] == [("too_late_to_cancel", 6)]
    stranger = service.keys.of_user("execution", UUID(int=9), "read", "trade")
    assert (await service.post(f"{order.order_id}/pause", stranger))[0] == 404
    ordinary = replace_algo(an_order)
    await service.command(ordinary)
    await part(service, order, 3)
    assert (await service.post(f"{ordinary.order_id}/pause", headers))[1]["code"] == "no_algorithm"


def replace_algo(order: SubmitOrder) -> SubmitOrder:
    return msgspec.structs.replace(order, order_id=UUID(int=order.order_id.int ^ 1))
