"""Orders with conditions and groups through the front door: sent, shown, replaced, kept, read again."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from fleet_contracts import execution
from fleet_contracts.trading import Leg, QueryOrder, ReplaceOrder, SubmitOrder
from fleet_contracts.vocabulary import OrderClass, OrderType, Side, TimeInForce, VenueOrderStand
from fleet_testkit.eventually import eventually
from fleet_trading.api.bodies import EXAMPLES

ORDERS = "/api/v1/orders"
BRACKET = {"order_class": "bracket", "take_profit": {"limit_price": "120"}, "stop_loss": {"stop_price": "80"}}


def report(kind: Any, order_id: str, fleet: Any, **more: Any) -> Any:
    return kind(order_id=UUID(order_id), market_at=fleet.clock.now(), **more)


def replaced(order_id: str, fleet: Any, quantity: int, **more: Any) -> Any:
    fields = {"limit_price": None, "cumulative_quantity": Decimal(0)} | more
    return report(execution.OrderReplaced, order_id, fleet, quantity=Decimal(quantity), **fields)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"type": "stop"}, "stop_price"),
        ({"type": "stop", "stop_price": "90", "limit_price": "90"}, "limit_price"),
        ({"type": "stop_limit", "stop_price": "90"}, "limit_price"),
        ({"stop_price": "90"}, "stop_price"),
        ({"type": "stop", "stop_price": "x"}, "stop_price"),
        ({"type": "trailing_stop"}, "trail_amount"),
        ({"type": "trailing_stop", "trail_amount": "1", "trail_percent": "1"}, "trail_amount"),
        ({"type": "trailing_stop", "trail_percent": "0.00001"}, "trail_percent"),
        ({"type": "trailing_stop", "trail_amount": "1", "stop_price": "90"}, "stop_price"),
        ({"trail_amount": "1"}, "trail_amount"),
        ({"display_quantity": "1"}, "display_quantity"),
        ({"time_in_force": "gtd"}, "expires_at"),
        ({"expires_at": "2027-01-01T00:00:00Z"}, "expires_at"),
        ({"time_in_force": "gtd", "expires_at": "2027-01-01T00:00:00"}, "expires_at"),
        ({"time_in_force": "gtd", "expires_at": "tomorrow"}, "expires_at"),
        ({"time_in_force": "gtd", "expires_at": "0001-01-01T00:00:00+14:00"}, "expires_at"),
        ({"time_in_force": "gtd", "expires_at": "9999-12-31T00:00:00Z"}, "expires_at"),
        ({"type": "stop", "stop_price": "90", "time_in_force": "at_open"}, "time_in_force"),
        ({"post_only": True}, "post_only"),
        ({"type": "limit", "limit_price": "90", "post_only": True, "time_in_force": "fok"}, "post_only"),
        ({"reduce_only": True}, "reduce_only"),
        ({"order_class": "bracket"}, "take_profit"),
        ({"order_class": "bracket", "take_profit": {"limit_price": "120"}}, "stop_loss"),
        (BRACKET | {"stop_loss": {"stop_price": "130"}}, "stop_loss.stop_price"),
        (BRACKET | {"stop_loss": {"limit_price": "130"}}, "stop_loss"),
        (BRACKET | {"take_profit": {"limit_price": "1", "stop_price": "1"}}, "take_profit.stop_price"),
        (BRACKET | {"order_class": "simple"}, "order_class"),
        (BRACKET | {"order_class": "oto"}, "take_profit"),
        (BRACKET | {"order_class": "oco", "side": "sell"}, "type"),
        (
            BRACKET | {"order_class": "oco", "side": "sell", "type": "limit", "limit_price": "120"},
            "take_profit.limit_price",
        ),
        (BRACKET | {"algo": {"type": "twap", "duration_s": 60, "slices": 4}}, "algo"),
        ({"time_in_force": "fok", "algo": {"type": "twap", "duration_s": 60, "slices": 4}}, "algo"),
    ],
)
async def test_what_does_not_go_together_names_its_field(fleet: Any, body: Any, field: str) -> None:
    user = fleet.a_user()
    reply = await fleet.order(user, **body)
    assert (reply.status, reply.code) == (422, "invalid_request"), reply.body
    assert reply.body["errors"][0]["field"] == field, reply.body["errors"]
    assert await fleet.orders(user) == []


async def test_each_condition_is_sent_and_shown(fleet: Any) -> None:
    user = fleet.a_user()
    expires_at = (fleet.clock.now() + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    bodies: list[dict[str, Any]] = [
        {"type": "stop", "stop_price": "120"},
        {"type": "stop_limit", "stop_price": "120", "limit_price": "121"},
        {"type": "trailing_stop", "trail_percent": "1.5"},
        {"type": "market_if_touched", "stop_price": "90", "time_in_force": "day"},
        {"type": "limit_if_touched", "stop_price": "90", "limit_price": "91"},
        {"type": "limit", "limit_price": "90", "time_in_force": "gtd", "expires_at": expires_at, "post_only": True},
        {"type": "limit", "limit_price": "90", "display_quantity": "1"},
        {"type": "limit", "limit_price": "90", "time_in_force": "fok"},
        {"time_in_force": "at_open"},
        {"time_in_force": "at_close"},
    ]
    for number, body in enumerate(bodies):
        order = await fleet.accepted(user, **body, client_order_id=f"c{number}")
        assert body.items() <= order.items(), order
        assert (await fleet.order(user, **body, client_order_id=f"c{number}")).body == order
        assert await fleet.shown(order, user) == order
    other = await fleet.order(user, **(bodies[0] | {"stop_price": "121"}), client_order_id="c0")
    assert (other.status, other.code) == (409, "client_order_id_reused")
    await eventually(lambda: len(fleet.of(SubmitOrder, user)) == 10)
    sent = fleet.of(SubmitOrder, user)
    assert [s.order_type.value for s in sent] == [body.get("type", "market") for body in bodies]
    assert [s.time_in_force.value for s in sent] == [body.get("time_in_force", "gtc") for body in bodies]
    assert [s.protection_price for s in sent[:5]] == [126, None, Decimal("106.575"), Decimal("94.5"), None]
    assert (sent[0].stop_price, sent[2].trail_percent, sent[6].display_quantity) == (120, Decimal("1.5"), 1)
    assert (sent[5].post_only, sent[5].expires_at) == (True, fleet.clock.now() + timedelta(days=1))
    plain = await fleet.shown(await fleet.accepted(user, quantity="1"), user)
    assert {"triggered", "post_only", "trail_amount", "expires_at"}.isdisjoint(plain)

    stop = (await fleet.orders(user, client_order_id="c0"))[0]
    triggered = report(execution.OrderTriggered, stop["order_id"], fleet, trigger_price=Decimal("120.5"))
    await fleet.report(user, triggered)
    shown = await fleet.becomes(stop, user, "new")
    assert (shown["triggered"], shown["version"], shown["stop_price"]) == (True, 2, "120")
    await fleet.books_hold()


async def test_a_replace_is_on_its_way_until_the_venue_has_spoken(fleet: Any) -> None:
    user = fleet.a_user()
    order = await fleet.accepted(user, type="limit", limit_price="90", client_order_id="mine")
    path = f"{ORDERS}/{order['order_id']}"

    async def patch(**body: Any) -> Any:
        return await fleet.call("PATCH", path, body, user=user)

    assert [(await patch(**body)).code for body in ({}, {"colour": "red"}, {"quantity": "x"})] == [
        "invalid_request"
    ] * 3
    denied = await patch(quantity="1.5")
    assert (denied.status, denied.code) == (422, "invalid_quantity")
    assert (await patch(quantity="100000")).code == "insufficient_funds"
    assert (await patch(quantity="20", expected_version=7)).status == 409
    reply = await patch(quantity="20", limit_price="95", expected_version=1)
    assert (reply.status, reply.body["status"], reply.body["quantity"]) == (202, "pending_replace", "10")
    again = await patch(quantity="20", limit_price="95", expected_version=1)
    assert (again.status, again.body) == (202, reply.body)
    assert (await patch(quantity="21")).code == "replace_pending"
    assert await fleet.balance(user) == (100_000, Decimal("1901.9"))
    (sent,) = await eventually(lambda: fleet.of(ReplaceOrder, user))
    assert (sent.quantity, sent.limit_price, sent.stop_price) == (20, 95, None)
    assert sent.send_by == fleet.clock.now() + timedelta(seconds=5)

    await fleet.report(user, replaced(order["order_id"], fleet, 20, limit_price=Decimal(95)))
    shown = await fleet.becomes(order, user, "new")
    assert (shown["quantity"], shown["limit_price"], shown["version"]) == ("20", "95", 3)
    repeated = await fleet.order(user, type="limit", limit_price="90", client_order_id="mine")
    assert (repeated.status, repeated.body) == (201, order), "as it was placed"

    await patch(limit_price="80")
    no = report(execution.OrderReplaceRejected, order["order_id"], fleet, code="too_late", detail="")
    await fleet.report(user, no)
    shown = await fleet.becomes(order, user, "new")
    assert (shown["limit_price"], shown["reason"]["code"]) == ("95", "too_late")
    assert await fleet.balance(user) == (100_000, Decimal("1901.9"))
    assert (await fleet.call("PATCH", path, {"quantity": "5"}, user=fleet.a_user())).code == "order_not_found"
    await fleet.call("DELETE", path, user=user)
    assert (await patch(quantity="5")).code == "cancel_pending"
    assert len(fleet.of(ReplaceOrder, user)) == 2
    await fleet.books_hold()


async def test_an_unanswered_replace_is_asked_about(run_trading: Any) -> None:
    async with run_trading() as fleet:
        user = fleet.a_user()
        order = await fleet.accepted(user, type="limit", limit_price="90")
        await fleet.report(user, report(execution.OrderAccepted, order["order_id"], fleet, venue="paper"))
        await fleet.becomes(order, user, "new")
        await fleet.call("PATCH", f"{ORDERS}/{order['order_id']}", {"quantity": "20"}, user=user)
        fleet.clock.advance(seconds=10.5)
        await eventually(lambda: fleet.of(QueryOrder, user), timeout_s=30)
        works = {"stand": VenueOrderStand.WORKING, "cumulative_quantity": Decimal(0), "fills": ()}
        await fleet.report(user, report(execution.OrderState, order["order_id"], fleet, **works))
        shown = await fleet.becomes(order, user, "new")
        assert shown["reason"]["code"] == "replace_unanswered"
        assert await fleet.balance(user) == (100_000, Decimal("900.9"))
        await fleet.books_hold()


async def test_a_bracket_is_one_order_with_two_legs(fleet: Any) -> None:
    await bracket_through(fleet)


async def test_a_bracket_is_the_same_with_nothing_in_memory(run_trading: Any) -> None:
    async with run_trading(trading_cached_accounts=0) as fleet:
        await bracket_through(fleet)


async def bracket_through(fleet: Any) -> None:
    """client → bracket → order-commands (with legs) → reports of each order → one reservation"""
    user = fleet.a_user()
    order = await fleet.accepted(user, **BRACKET, client_order_id="b")
    profit_id, loss_id = order["legs"]
    (sent,) = await eventually(lambda: fleet.of(SubmitOrder, user))
    assert (sent.order_class, sent.legs) == (
        OrderClass.BRACKET,
        (
            Leg(
                order_id=UUID(profit_id),
                client_order_id=profit_id,
                side=Side.SELL,
                order_type=OrderType.LIMIT,
                quantity=Decimal(10),
                limit_price=Decimal(120),
                protection_price=None,
                time_in_force=TimeInForce.GTC,
            ),
            Leg(
                order_id=UUID(loss_id),
                client_order_id=loss_id,
                side=Side.SELL,
                order_type=OrderType.STOP,
                quantity=Decimal(10),
                limit_price=None,
                protection_price=None,
                time_in_force=TimeInForce.GTC,
                stop_price=Decimal(80),
            ),
        ),
    )
    (loss,) = await fleet.orders(user, client_order_id=loss_id)
    assert (loss["parent_order_id"], loss["order_class"], loss["stop_price"]) == (order["order_id"], "bracket", "80")
    assert (await fleet.order(user, client_order_id=loss_id)).code == "client_order_id_reused"
    assert (await fleet.order(user, **BRACKET, client_order_id="b")).body == order
    assert len(await fleet.orders(user, status="open")) == 3

    await fleet.report(user, fleet.filled(order, 10, "100"))
    await fleet.becomes(order, user, "filled")
    assert await fleet.balance(user, "AAPL") == (10, 10)
    assert (await fleet.order(user, side="sell", quantity="1")).code == "insufficient_position"
    await fleet.report(user, fleet.filled({"order_id": profit_id}, 4, "120"), replaced(loss_id, fleet, 6, code="oco"))
    shown = await fleet.becomes({"order_id": profit_id}, user, "partially_filled")
    assert (shown["filled_quantity"], await fleet.balance(user, "AAPL")) == ("4", (6, 6))
    assert (await fleet.shown({"order_id": loss_id}, user))["reason"]["code"] == "oco"
    await fleet.call("DELETE", f"{ORDERS}/{profit_id}", user=user)
    gone = {"code": "requested", "detail": "", "cumulative_quantity": Decimal(4)}
    await fleet.report(user, report(execution.OrderCanceled, profit_id, fleet, **gone))
    await fleet.becomes({"order_id": profit_id}, user, "canceled")
    assert await fleet.balance(user, "AAPL") == (6, 6)
    await fleet.report(user, fleet.filled({"order_id": loss_id}, 6, "79"))
    await fleet.becomes({"order_id": loss_id}, user, "filled")
    assert await fleet.balance(user, "AAPL") == (0, 0)
    await fleet.books_hold()


async def test_the_examples_of_the_api_are_good(fleet: Any) -> None:
    user = fleet.a_user()
    held = await fleet.accepted(user, quantity="100")
    await fleet.report(user, fleet.filled(held, 100, "100"))
    await fleet.becomes(held, user, "filled")
    for name, body in EXAMPLES.items():
        reply = await fleet.call("POST", ORDERS, body, user=user)
        assert reply.status == 201, (name, reply.body)
        assert len(reply.body["legs"]) == {"bracket": 2, "oco": 1, "oto": 1}.get(name, 0)
    document = (await fleet.call("GET", "/openapi.json", user=user)).body
    body = document["paths"][ORDERS]["post"]["requestBody"]["content"]["application/json"]
    assert set(body["examples"]) == set(EXAMPLES)
    assert "trail_percent" in body["schema"]["properties"]
    assert "patch" in document["paths"][ORDERS + "/{order_id}"]
    await fleet.books_hold()
