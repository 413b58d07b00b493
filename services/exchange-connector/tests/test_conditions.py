"""Every order condition and group in one book of the paper venue."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from fleet_exchange_connector.domain.orders import Stand
from fleet_simulator import OrderType, Side, TimeInForce
from paper_books import AT, SECOND, K, Stored, bracket, canceling, order, ref, replacing, told


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


def test_of_two_orders_one_cannot_come_after_the_other_has_filled() -> None:
    book = Stored()
    book.quote(100)
    group = {"oco_group": ref(7)}
    assert told(book.does(order(1, Side.SELL, limit_price=99, **group))) == [(1, "accepted"), (1, "filled")]
    book.book = book.restored()
    assert told(book.does(order(2, Side.SELL, stop_price=95, **group))) == [(2, "rejected:oco")]
    group = {"oco_group": ref(8)}
    book.does(order(3, Side.SELL, limit_price=101, **group), order(4, Side.SELL, stop_price=95, **group))
    book.does(canceling(3))
    assert told(book.quote(94)) == [(4, "triggered"), (4, "filled")]
    assert told(book.does(order(5, Side.SELL, stop_price=90, oco_group=ref(9)))) == [(5, "accepted")]


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
