"""Every order condition and group in one book of the paper venue, and the book read again from its rows at any point."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from fleet_exchange_connector.domain.bars import Bar
from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.instruments import offered
from fleet_exchange_connector.domain.orders import (
    CancelOrder,
    PlaceOrder,
    ReplaceOrder,
    Report,
    ReportKind,
    Stand,
)
from fleet_simulator import OrderType, Side, TimeInForce
from hypothesis import given, settings
from hypothesis import strategies as st

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
SYMBOL = "AAPL/USD"
INSTRUMENT = offered("simulated")[SYMBOL]
SECOND = timedelta(seconds=1)
K = ReportKind
Row = dict[str, Any]


def ref(number: int) -> UUID:
    return UUID(int=number)


def order(number: int, side: Side = Side.BUY, **changed: Any) -> PlaceOrder:
    """An order of 10 at the market; `limit_price` or `stop_price` alone say its type."""
    types = {"limit_price": OrderType.LIMIT, "stop_price": OrderType.STOP, "trail_amount": OrderType.TRAILING_STOP}
    fields: dict[str, Any] = {
        "venue_order_ref": ref(number),
        "account_id": ref(1000),
        "user_id": ref(2000),
        "command_sequence": number,
        "send_by": None,
        "symbol": SYMBOL,
        "side": side,
        "order_type": next((kind for name, kind in types.items() if name in changed), OrderType.MARKET),
        "quantity": Decimal(10),
        "limit_price": None,
        "protection_price": None,
        "time_in_force": TimeInForce.GTC,
    }
    fields.update(changed)
    prices = ("limit_price", "protection_price", "stop_price", "trail_amount", "trail_percent")
    amounts = (*prices, "quantity", "display_quantity", "minimum_quantity")
    fields.update({name: Decimal(str(fields[name])) for name in amounts if fields.get(name) is not None})
    return PlaceOrder(**fields)


def replacing(number: int, **changed: Any) -> ReplaceOrder:
    given = {name: Decimal(str(value)) for name, value in changed.items()}
    return ReplaceOrder(
        venue_order_ref=ref(number),
        account_id=ref(1000),
        user_id=ref(2000),
        command_sequence=0,
        send_by=None,
        symbol=SYMBOL,
        quantity=given.get("quantity"),
        limit_price=given.get("limit_price"),
        stop_price=given.get("stop_price"),
    )


def canceling(number: int) -> CancelOrder:
    return CancelOrder(
        venue_order_ref=ref(number), account_id=ref(1000), user_id=ref(2000), command_sequence=0, symbol=SYMBOL
    )


@dataclass
class Stored:
    """A book, and the rows of it that the unit of work would write after each cause."""

    book: Book = field(default_factory=lambda: Book(INSTRUMENT))
    at: datetime = AT
    state: dict[str, Any] = field(default_factory=dict)
    rows: dict[UUID, Row] = field(default_factory=dict)
    held: dict[UUID, Decimal] = field(default_factory=dict)
    unreported: int = 0

    def quote(self, price: float, spread: float = 0.02) -> list[Report]:
        """A second later the bid is `price`, the ask `spread` above it."""
        self.at += SECOND
        bid, ask = (INSTRUMENT.scale.ticks(Decimal(str(each))) for each in (price, round(price + spread, 4)))
        return self._kept(self.book.show(bid, 100, ask, 100, self.at, now=self.at))

    def bar(self, opened: float, high: float, low: float, close: float) -> list[Report]:
        """A day later: opened at `self.at`, closed six hours after it."""
        self.at += timedelta(days=1)
        shown = {"open": opened, "high": high, "low": low, "close": close, "volume": 1000}
        prices: Any = {name: Decimal(str(value)) for name, value in shown.items()}
        return self._kept(self.book.show_bar(Bar(SYMBOL, self.at, self.closed_at, **prices), now=AT))

    @property
    def closed_at(self) -> datetime:
        return self.at + timedelta(hours=6)

    def does(self, *commands: PlaceOrder | ReplaceOrder | CancelOrder) -> list[Report]:
        found: list[Report] = []
        for command in commands:
            match command:
                case PlaceOrder():
                    found += self.book.place(command, self.at, now=self.at)
                case ReplaceOrder():
                    found += self.book.replace(command, self.at, now=self.at)
                case CancelOrder():
                    found += self.book.cancel(command, self.at, now=self.at)
        return self._kept(found)

    def expected_end(self) -> list[Report]:
        return self._kept(self.book.end_session(self.at, now=self.at))

    def restored(self) -> Book:
        book = Book(INSTRUMENT)
        held = {account_id: quantity for account_id, quantity in self.held.items() if quantity}
        book.restore(self.book.version, self.state, list(self.rows.values()), held)
        return book

    def _kept(self, reports: list[Report]) -> list[Report]:
        changed = {r.venue_order_ref for r in reports if r.kind not in (K.CANCEL_REJECTED, K.REPLACE_REJECTED)}
        silent = {changed_ref for changed_ref, _ in self.book.take_changed()}
        self.unreported += len(silent - changed)
        for each in changed | silent:
            row = self.book.order_state(each)
            if row is None:
                self.rows.pop(each, None)
            else:
                self.rows[each] = row
        for report in reports:
            if report.fill is not None:
                self.held[report.account_id] = self.book.position(report.account_id)
        self.state = self.book.state()
        return reports


def told(reports: Iterable[Report]) -> list[tuple[int, str]]:
    """What was said of which order, with the code of it."""
    found = []
    for report in reports:
        code = report.change.code if report.change else report.status.code
        found.append((report.venue_order_ref.int, f"{report.kind}:{code}" if code else str(report.kind)))
    return found


def bracket(parent: int = 1, **changed: Any) -> list[PlaceOrder]:
    """As execution sends it: the legs first. Bought at the market, out at 110 or 90."""
    own = {"parent_ref": ref(parent), "oco_group": ref(parent + 500)}
    legs = [order(parent + 1, Side.SELL, limit_price=110, **own), order(parent + 2, Side.SELL, stop_price=90, **own)]
    return [*legs, order(parent, **changed)]


def test_a_bracket_waits_for_its_parent_and_one_leg_ends_the_other() -> None:
    book = Stored()
    book.quote(100)
    reports = book.does(*bracket())
    assert told(reports) == [
        *((2, "accepted"), (3, "accepted"), (1, "accepted"), (1, "filled")),
        *((2, "replaced:parent_filled"), (3, "replaced:parent_filled")),
    ]
    changes: list[Any] = [report.change for report in reports if report.change]
    assert [(c.quantity, c.limit_price, c.stop_price) for c in changes] == [(10, 110, None), (10, None, 90)]
    listed: dict[int, Any] = {each.venue_order_ref.int: each for each in book.book.listed()}
    assert (listed[3].stop_price, listed[3].quantity, listed[3].is_triggered) == (90, 10, False)
    reports = book.quote(89.5)
    assert told(reports) == [(3, "triggered"), (2, "canceled:oco"), (3, "filled")]
    assert (reports[0].trigger_price, reports[2].fill and reports[2].fill.price) == (Decimal("89.5"), Decimal("89.5"))
    assert [report.status.stand for report in reports] == [Stand.WORKING, Stand.CANCELED, Stand.FILLED]
    assert book.book.open_orders == 0


def test_legs_end_with_a_parent_that_is_refused_canceled_or_off_the_grid() -> None:
    for parent in (order(1, limit_price="99.99999"), order(1, limit_price=-1)):
        book = Stored()
        book.quote(100)
        book.does(*bracket()[:2])
        reports = book.does(parent)
        assert told(reports) == [
            (1, "rejected:invalid_price"),
            (2, "canceled:parent_ended"),
            (3, "canceled:parent_ended"),
        ]
    book = Stored()
    book.quote(100)
    book.does(*bracket(limit_price=95))
    assert [each.quantity for each in book.book.listed()] == [10, 0, 0], "legs are as large as what their parent filled"
    assert told(book.does(canceling(1)))[1:] == [(2, "canceled:parent_ended"), (3, "canceled:parent_ended")]
    assert told(book.book.refuse(order(5), "market_halted", AT, now=AT)) == [(5, "rejected:market_halted")]


def test_a_leg_is_canceled_alone() -> None:
    book = Stored()
    book.quote(100)
    book.does(*bracket())
    assert told(book.does(canceling(2))) == [(2, "canceled:requested")]
    assert [each.venue_order_ref.int for each in book.book.listed()] == [3]


@pytest.mark.parametrize(
    ("changed", "prices", "said"),
    [
        ({"stop_price": 101}, (100.5, 101), ["triggered", "filled"]),
        (
            {"stop_price": 101, "limit_price": 101, "order_type": OrderType.STOP_LIMIT},
            (101.5, 100.5),
            ["triggered", "filled"],
        ),
        ({"trail_amount": 1}, (98, 98.5, 99), ["triggered", "filled"]),
        ({"trail_percent": "1.5", "order_type": OrderType.TRAILING_STOP}, (98, 99, 99.6), ["triggered", "filled"]),
        ({"stop_price": 99, "order_type": OrderType.MARKET_IF_TOUCHED}, (99.5, 98.9), ["triggered", "filled"]),
        (
            {"stop_price": 99, "limit_price": "98.5", "order_type": OrderType.LIMIT_IF_TOUCHED},
            (98.9, 98.4),
            ["triggered", "filled"],
        ),
        ({"limit_price": 99, "display_quantity": 3}, (98.5,), ["filled"] * 4),
        ({"limit_price": 101, "post_only": True}, (), ["canceled:post_only"]),
        ({"limit_price": 99, "time_in_force": TimeInForce.FOK}, (), ["canceled:fok"]),
        ({"limit_price": 99, "time_in_force": TimeInForce.IOC}, (), ["canceled:ioc"]),
        ({"limit_price": 99, "minimum_quantity": 5}, (), ["canceled:minimum_quantity"]),
        ({"limit_price": 101, "minimum_quantity": 5}, (), ["filled"]),
        (
            {"limit_price": 99, "time_in_force": TimeInForce.GTD, "expires_at": AT + 2 * SECOND},
            (98,),
            ["expired"],
        ),
        ({"reduce_only": True}, (), ["canceled:reduce_only"]),
        ({"stop_price": 101, "protection_price": "101.5"}, (103,), ["triggered", "canceled:price_protection"]),
    ],
)
def test_every_condition(changed: dict[str, Any], prices: Sequence[float], said: list[str]) -> None:
    book = Stored()
    book.quote(100, 0)
    reports = book.does(order(1, **changed))
    for price in prices:
        reports += book.quote(price, 0)
    assert [what for _, what in told(reports)] == ["accepted", *said]


def test_orders_that_only_reduce_know_the_position() -> None:
    book = Stored()
    book.quote(100)
    book.does(order(1, quantity=6))
    book.book = book.restored()
    reports = book.does(order(2, Side.SELL, limit_price=105, reduce_only=True))
    assert told(reports) == [(2, "accepted"), (2, "replaced:reduce_only")]
    assert reports[1].change is not None
    assert reports[1].change.quantity == 6
    assert told(book.does(order(3, Side.SELL))) == [(3, "accepted"), (3, "filled"), (2, "canceled:reduce_only")]


def test_what_is_replaced_is_told_as_it_is_now() -> None:
    book = Stored()
    book.quote(100)
    book.does(order(1, limit_price=95), order(2, stop_price=105))
    changed: Any
    (changed,) = book.does(replacing(1, limit_price="96.5", quantity=7))
    assert (changed.change.quantity, changed.change.limit_price, changed.change.code) == (
        7,
        Decimal("96.5"),
        "requested",
    )
    (changed,) = book.does(replacing(2, stop_price=106))
    assert changed.change.stop_price == 106
    assert told(book.does(replacing(1, limit_price="96.00001"))) == [(1, "replace_rejected:invalid_price")]
    assert told(book.does(replacing(1, quantity="0.5"))) == [(1, "replace_rejected:invalid_quantity")]
    assert told(book.does(replacing(9, quantity=5))) == [(9, "replace_rejected:unknown_order")]
    assert told(book.does(replacing(1, limit_price=102))) == [(1, "replaced:requested"), (1, "filled")]


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"stop_price": "101.00001"}, "invalid_price"),
        ({"trail_amount": "0.00001"}, "invalid_price"),
        ({"trail_percent": "1.00001", "order_type": OrderType.TRAILING_STOP}, "invalid_price"),
        ({"trail_percent": "1", "trail_amount": "1"}, "invalid_price"),
        ({"limit_price": 99, "display_quantity": "0.5"}, "invalid_quantity"),
        ({"limit_price": 99, "minimum_quantity": 11}, "invalid_quantity"),
        ({"expires_at": AT + SECOND}, "invalid_time_in_force"),
        ({"limit_price": 99, "oco_group": ref(7)}, "invalid_group"),
    ],
)
def test_what_does_not_go_together_is_rejected(changed: dict[str, Any], code: str) -> None:
    book = Stored()
    book.quote(100)
    book.does(order(8, limit_price=90, oco_group=ref(7)))
    (rejected,) = book.does(order(1, **changed))
    assert (rejected.kind, rejected.status.code) == (K.REJECTED, code)


def test_a_bar_dates_its_open_and_what_comes_on_its_way() -> None:
    book = Stored()
    book.at += timedelta(days=1)
    sell = {"parent_ref": ref(1), "oco_group": ref(9)}
    book.does(
        # The take-profit is the open's own price: it fills when the way comes back there.
        order(2, Side.SELL, limit_price=100, parent_ref=ref(4)),
        order(4, limit_price=95),
        order(3, Side.SELL, stop_price=96, **sell),
        order(1),
        order(5, stop_price=100),
        order(6, limit_price=99, time_in_force=TimeInForce.IOC),
        order(7, limit_price=90, time_in_force=TimeInForce.DAY),
        order(8, Side.SELL, time_in_force=TimeInForce.AT_OPEN, limit_price=99),
        order(10, time_in_force=TimeInForce.AT_CLOSE),
    )
    book.at -= timedelta(days=1)
    reports = book.bar(100, 103, 94, 102)
    opened, closed = book.at, book.closed_at
    at_open = {
        *((8, "filled"), (1, "filled"), (3, "replaced:parent_filled"), (5, "triggered"), (5, "filled")),
        (6, "canceled:ioc"),
    }
    for report, said in zip(reports, told(reports), strict=True):
        assert report.market_at == (opened if said in at_open else closed), said
    assert {said for said in told(reports) if said not in at_open} == {
        *((4, "filled"), (2, "replaced:parent_filled"), (2, "filled"), (3, "triggered"), (3, "filled")),
        *((7, "expired"), (10, "filled")),
    }
    book.at += timedelta(hours=12)
    ends: dict[str, Any] = {"time_in_force": TimeInForce.GTD, "expires_at": book.at + timedelta(hours=1)}
    book.does(order(21, Side.SELL, limit_price=200, parent_ref=ref(20)), order(20, limit_price=150, **ends))
    reports = book.bar(100, 101, 99, 100)
    assert told(reports) == [(20, "expired"), (21, "canceled:parent_ended")]
    assert reports[0].market_at == ends["expires_at"], "before it could fill"


# The book read again from its rows

PRICES = st.integers(9_000, 11_000).map(lambda cents: cents / 100)
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "display_quantity": st.integers(1, 6),
        "minimum_quantity": st.integers(1, 10),
        "post_only": st.booleans(),
        "reduce_only": st.booleans(),
        "time_in_force": st.sampled_from(TimeInForce),
        "expires_after_s": st.integers(1, 30),
        "oco_group": st.integers(1, 3).map(lambda n: ref(500 + n)),
        "parent_ref": st.integers(1, 25).map(ref),
        "account_id": st.sampled_from([ref(1000), ref(1001)]),
        "quantity": st.integers(1, 12),
    },
)
TYPES = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"limit_price": PRICES}),
    st.fixed_dictionaries({"stop_price": PRICES}),
    st.fixed_dictionaries({"stop_price": PRICES, "order_type": st.just(OrderType.MARKET_IF_TOUCHED)}),
    st.fixed_dictionaries(
        {
            "stop_price": PRICES,
            "limit_price": PRICES,
            "order_type": st.sampled_from([OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED]),
        }
    ),
    st.fixed_dictionaries({"trail_amount": st.integers(1, 500).map(lambda cents: cents / 100)}),
    st.fixed_dictionaries(
        {"trail_percent": st.sampled_from(["0.5", "1.5"]), "order_type": st.just(OrderType.TRAILING_STOP)}
    ),
)
MOVES = st.one_of(
    st.tuples(st.just("place"), st.sampled_from(Side), TYPES, CONDITIONS),
    st.tuples(st.just("bracket"), PRICES),
    st.tuples(st.just("quote"), PRICES),
    st.tuples(st.just("quote"), PRICES),
    st.tuples(st.just("bar"), PRICES, PRICES, PRICES, PRICES),
    st.tuples(st.just("cancel"), st.integers(1, 25)),
    st.tuples(st.just("replace"), st.integers(1, 25), st.integers(1, 15), PRICES),
    st.tuples(st.just("end")),
    st.tuples(st.just("kill")),
)


def move(book: Stored, number: int, drawn: Any) -> list[Report]:
    match drawn:
        case ("place", side, kind, conditions):
            conditions = dict(conditions)
            after_s = conditions.pop("expires_after_s", None)
            if conditions.get("time_in_force") is TimeInForce.GTD and after_s is not None:
                conditions["expires_at"] = book.at + after_s * SECOND
            return book.does(order(number, side, **kind, **conditions))
        case ("bracket", price):
            return book.does(*bracket(number, limit_price=price))
        case ("quote", price):
            return book.quote(price)
        case ("bar", opened, first, second, close):
            prices = (opened, first, second, close)
            reports = book.bar(opened, max(prices), min(prices), close)
            book.at = book.closed_at
            return reports
        case ("cancel", number):
            return book.does(canceling(number))
        case ("replace", number, quantity, price):
            known = {each.venue_order_ref.int: each for each in book.book.listed()}.get(number)
            changed: dict[str, Any] = {"quantity": quantity}
            if known is not None and known.limit_price is not None:
                changed = {"limit_price": price}
            elif known is not None and known.stop_price is not None:
                changed = {"stop_price": price}
            return book.does(replacing(number, **changed))
        case _:
            return book.expected_end()


@settings(max_examples=150, deadline=None)
@given(st.lists(MOVES, min_size=4, max_size=25))
def test_whenever_it_is_killed_its_rows_are_the_truth(moves: list[Any]) -> None:
    whole, killed = Stored(), Stored()
    whole.quote(100)
    killed.quote(100)
    for number, drawn in enumerate(moves, 1):
        if drawn == ("kill",):
            killed.book = killed.restored()
        else:
            assert move(killed, number * 3, drawn) == move(whole, number * 3, drawn)
        assert killed.restored().state_hash() == whole.book.state_hash(), "at every point"


def test_the_rows_say_where_every_kind_of_order_stands_between_two_prices() -> None:
    """A bracket whose parent has filled, a stop that has trailed, an iceberg, a child that waits, a leg left alone."""
    whole, killed = Stored(), Stored()
    for book in (whole, killed):
        book.quote(100)
        book.does(
            *bracket(),
            order(10, Side.SELL, trail_amount=2),
            order(11, limit_price=97, display_quantity=3),
            order(12, Side.SELL, limit_price=99, parent_ref=ref(13)),
            order(13, limit_price=96),
            *bracket(20, limit_price=100),
        )
        book.quote(101)
        assert book.unreported == 1, "the mark has moved, and nothing else has changed without a report"
        book.quote(100.5)
        assert book.unreported == 1, "what has not moved is not written"
    killed.book = killed.restored()
    assert killed.book.state_hash() == whole.book.state_hash()
    for price in (99.0, 96.5, 95.9, 112.0):
        assert killed.quote(price) == whole.quote(price)
        assert killed.restored().state_hash() == whole.book.state_hash()
    assert (10, "filled") not in told(whole.quote(100)), "it has filled at 99"
