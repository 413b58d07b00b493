"""Orders through the front door: accepted, denied, repeated, filled, cancelled."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from fleet_chassis.problems import Problem
from fleet_contracts import execution
from fleet_contracts.topics import DATA_INSTRUMENTS, DATA_QUOTES
from fleet_contracts.trading import Account, AccountChanged, CancelOrder, QueryOrder, SubmitOrder, Twap
from fleet_contracts.vocabulary import VenueOrderStand
from fleet_testkit.eventually import eventually
from fleet_trading.api.bodies import parse_batch, parse_order, parse_replace
from fleet_trading.service.orders import Cancellation
from opentelemetry import trace

ORDERS = "/api/v1/orders"


async def test_an_accepted_order_reserves_is_sent_is_filled_and_booked(fleet: Any) -> None:
    """client → trading → order-commands → (execution reports) → trading → activity"""
    user = fleet.a_user()
    order = await fleet.accepted(user, client_order_id="first")
    assert (order["status"], order["client_order_id"], order["quantity"]) == ("pending_new", "first", "10")
    assert order["account_id"] == str(fleet.account_of(user))
    assert await fleet.balance(user) == (100_000, Decimal("1051.05"))

    await eventually(lambda: fleet.of(SubmitOrder, user), what="the order is sent")
    (sent,) = fleet.of(SubmitOrder, user)
    assert str(sent.order_id) == order["order_id"]
    assert sent.protection_price == 105
    assert sent.send_by == fleet.clock.now() + timedelta(seconds=5)

    order_id = UUID(order["order_id"])
    accepted = execution.OrderAccepted(order_id=order_id, market_at=fleet.clock.now(), venue="paper")
    await fleet.report(user, accepted, fleet.filled(order, 4, "99.5", fee="0.398"))
    part = await fleet.becomes(order, user, "partially_filled")
    assert (part["filled_quantity"], part["average_fill_price"], part["fees"]) == ("4", "99.5", "0.398")
    await fleet.report(user, fleet.filled(order, 6, "100", cumulative=10, fee="0.6"))
    whole = await fleet.becomes(order, user, "filled")
    assert whole["average_fill_price"] == "99.8"
    assert await fleet.balance(user) == (Decimal("100000") - 398 - 600 - Decimal("0.998"), 0)
    assert await fleet.balance(user, "AAPL") == (10, 0)

    trades = (await fleet.call("GET", "/api/v1/trades", user=user)).body["data"]
    assert [(t["quantity"], t["price"], t["fee"]) for t in trades] == [("6", "100", "0.6"), ("4", "99.5", "0.398")]
    (position,) = (await fleet.call("GET", "/api/v1/positions", user=user)).body["data"]
    assert (position["quantity"], position["average_price"], position["unrealized_pnl"]) == ("10", "99.8", "2")
    portfolio = (await fleet.call("GET", "/api/v1/portfolio", user=user)).body
    assert portfolio["equity"] == "100001.002"
    assert portfolio["day_pnl"] == "1.002"
    ledger = (await fleet.call("GET", f"/api/v1/accounts/{order['account_id']}/ledger", user=user)).body["data"]
    assert len(ledger) == 7
    assert (ledger[-1]["kind"], ledger[-1]["amount"], ledger[0]["balance_after"]) == ("deposit", "100000", "99001.002")

    changed = await eventually(
        lambda: [m for m in fleet.of(AccountChanged, user) if m.orders and m.orders[0].status == "filled"]
    )
    (last,) = changed
    assert [t.quantity for t in last.trades] == [6]
    assert {b.currency for b in last.balances} == {"AAPL", "USD"}
    assert last.portfolio.equity == Decimal("100001.002")
    assert last.version == last.positions[0].version == last.portfolio.version
    versions = [m.version for m in fleet.of(AccountChanged, user)]
    assert versions == sorted(set(versions))
    assert fleet.of(Account, user)[0].is_default
    await fleet.books_hold()


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"quantity": "-1"}, 422, "invalid_quantity"),
        ({"quantity": "0"}, 422, "invalid_quantity"),
        ({"quantity": "1.5"}, 422, "invalid_quantity"),
        ({"quantity": "1000000"}, 422, "insufficient_funds"),
        ({"side": "sell"}, 422, "insufficient_position"),
        ({"symbol": "NOPE/USD"}, 422, "unknown_symbol"),
        ({"type": "limit", "limit_price": "1.00001"}, 422, "invalid_price"),
        ({"type": "limit"}, 422, "invalid_price"),
        ({"notional": "100"}, 422, "invalid_request"),
        ({"quantity": None, "notional": "99"}, 422, "invalid_notional"),
        ({"algo": {"type": "vwap", "duration_s": 60, "slices": 4}}, 422, "unsupported"),
        ({"algo": {"type": "twap", "duration_s": 60}}, 422, "invalid_request"),
        ({"algo": {"type": "twap", "duration_s": 60, "slices": 61}}, 422, "invalid_request"),
        ({"algo": {"type": "twap", "duration_s": "60", "slices": 4}}, 422, "invalid_request"),
        ({"algo": {"type": "twap", "duration_s": 60, "slices": 4, "urgency": 1}}, 422, "invalid_request"),
        ({"quantity": None}, 422, "invalid_request"),
        ({"quantity": "1e3"}, 422, "invalid_request"),
        ({"quantity": "NaN"}, 422, "invalid_request"),
        ({"quantity": 1.5}, 422, "invalid_request"),
        ({"quantity": True}, 422, "invalid_request"),
        ({"side": "hold"}, 422, "invalid_request"),
        ({"colour": "red"}, 422, "invalid_request"),
        ({"symbol": "aapl"}, 422, "invalid_request"),
        ({"client_order_id": "sig-mine"}, 422, "invalid_request"),
        ({"client_order_id": "x" * 65}, 422, "invalid_request"),
        ({"venue": "\x00"}, 422, "invalid_request"),
        ({"venue": "x" * 33}, 422, "invalid_request"),
        ({"account_id": str(uuid4())}, 404, "account_not_found"),
    ],
)
async def test_what_is_wrong_is_named_and_nothing_else_changes(fleet: Any, body: Any, status: int, code: str) -> None:
    user = fleet.a_user()
    await fleet.call("GET", "/api/v1/accounts", user=user)
    reply = await fleet.order(user, **body)
    assert (reply.status, reply.code) == (status, code), reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "instance", "code", "request_id"} <= set(reply.body)
    if code == "invalid_request":
        assert reply.body["errors"][0]["field"].partition(".")[0] in {*body, "quantity"}
    assert await fleet.balance(user) == (100_000, 0)
    assert fleet.of(SubmitOrder, user) == []
    left = (await fleet.call("GET", ORDERS, user=user)).body["data"]
    is_denial = status == 422 and code not in {"invalid_request", "unsupported"}
    assert [(o["status"], o["reason"]["code"]) for o in left] == ([("denied", code)] if is_denial else [])


async def test_an_order_names_its_venue_and_how_it_is_worked(fleet: Any) -> None:
    user = fleet.a_user()
    async with fleet.outside.transaction() as tx:
        tx.publish(DATA_INSTRUMENTS, "IBM/USD", fleet.an_instrument("IBM/USD", venues=("paper", "internal")))

    async def at(venue: str | None, **more: Any) -> Any:
        asked = {"symbol": "IBM/USD", "type": "limit", "limit_price": "10", "quantity": "4"} | more
        reply = await fleet.order(user, **asked, **({} if venue is None else {"venue": venue}))
        return reply if reply.status == 201 else None

    algo = {"type": "twap", "duration_s": 60, "slices": 4}
    assert (await eventually(lambda: at("internal", algo=algo, client_order_id="a"))).body["venue"] == "internal"
    assert (await at(None)).body["venue"] == "paper"
    sent = await eventually(lambda: fleet.of(SubmitOrder, user)[1:] and fleet.of(SubmitOrder, user))
    assert [(order.venue, order.algo) for order in sent] == [
        ("internal", Twap(duration_s=60, slices=4)),
        ("paper", None),
    ]
    # How it is worked is part of what was asked.
    other = await at("internal", algo=algo | {"slices": 5}, client_order_id="a")
    assert other is None
    assert (await at("internal", algo=algo, client_order_id="a")).body["order_id"] == str(sent[0].order_id)


async def test_what_is_not_json_is_400_and_what_is_not_said_to_be_is_415(fleet: Any) -> None:
    user = fleet.a_user()
    json = {"content-type": "application/json"}
    assert (await fleet.call("POST", ORDERS, user=user, data=b"{", headers=json)).status == 400
    assert (await fleet.call("POST", ORDERS, user=user, data=b'{"symbol": "\xff"}', headers=json)).status == 400
    assert (await fleet.call("POST", ORDERS, user=user, data=b"[" * 100_000, headers=json)).status == 422
    assert (
        await fleet.call("POST", ORDERS, user=user, data=b"{}", headers={"content-type": "text/plain"})
    ).status == 415
    assert (await fleet.call("POST", ORDERS, {}, user=user)).code == "invalid_request"
    assert (await fleet.call("PUT", f"{ORDERS}/{uuid4()}", {}, user=user)).status == 405
    assert (await fleet.call("GET", f"{ORDERS}/{uuid4()}/events", user=user)).status == 404


async def test_the_same_again_is_answered_the_same_and_another_body_is_refused(fleet: Any) -> None:
    user = fleet.a_user()
    first = await fleet.order(user, client_order_id="mine")
    assert first.status == 201
    assert first.headers["Location"] == f"{ORDERS}/{first.body['order_id']}"
    assert "Idempotent-Replayed" not in first.headers
    await fleet.report(user, fleet.filled(first.body, 10, "100"))
    await fleet.becomes(first.body, user, "filled")
    again = await fleet.order(user, client_order_id="mine")
    assert (again.status, again.body, again.headers["Idempotent-Replayed"]) == (201, first.body, "true")
    other = await fleet.order(user, client_order_id="mine", quantity="11")
    assert (other.status, other.code) == (409, "client_order_id_reused")

    denied = await fleet.order(user, client_order_id="too much", quantity="1000000")
    assert (denied.status, denied.code) == (422, "invalid_request"), "a name has no spaces"
    denied = await fleet.order(user, client_order_id="too-much", quantity="1000000")
    repeated = await fleet.order(user, client_order_id="too-much", quantity="1000000")
    assert (repeated.status, repeated.code, repeated.body["detail"]) == (
        422,
        "insufficient_funds",
        denied.body["detail"],
    )
    assert (await fleet.order(user, client_order_id="too-much")).code == "client_order_id_reused"

    # Another user's word for an order is his own.
    assert (await fleet.order(fleet.a_user(), client_order_id="mine")).status == 201
    assert len((await fleet.call("GET", ORDERS, user=user)).body["data"]) == 2


async def test_the_same_at_the_same_time_is_one_order(fleet: Any) -> None:
    user = fleet.a_user()
    replies = await asyncio.gather(*(fleet.order(user, client_order_id="racing") for _ in range(20)))
    assert {reply.status for reply in replies} == {201}
    assert len({reply.body["order_id"] for reply in replies}) == 1
    assert sum("Idempotent-Replayed" not in reply.headers for reply in replies) == 1
    assert await fleet.balance(user) == (100_000, Decimal("1051.05"))


async def test_commands_that_share_a_transaction_are_each_sent_under_their_own_trace(fleet: Any) -> None:
    user = fleet.a_user()
    orders = [UUID((await fleet.accepted(user))["order_id"]) for _ in range(3)]

    async def cancel(span_id: int, order_id: UUID) -> None:
        span = trace.SpanContext(trace_id=span_id, span_id=span_id, is_remote=False, trace_flags=trace.TraceFlags(1))
        with trace.use_span(trace.NonRecordingSpan(span)):
            await fleet.committer.submit(Cancellation(fleet.account_of(user), user, order_id))

    async def sent() -> dict[UUID, str | None] | None:
        found = {r.message.order_id: r.traceparent for r in fleet.heard if isinstance(r.message, CancelOrder)}
        return {order_id: found[order_id] for order_id in orders} if found.keys() >= set(orders) else None

    await asyncio.gather(*(cancel(n, order_id) for n, order_id in enumerate(orders, start=1)))
    expected = {order_id: f"00-{n:032x}-{n:016x}-01" for n, order_id in enumerate(orders, start=1)}
    assert await eventually(sent, what="the cancels are sent") == expected


async def test_many_at_once_never_spend_more_than_there_is(fleet: Any) -> None:
    user = fleet.a_user()
    replies = await asyncio.gather(*(fleet.order(user, quantity="100") for _ in range(30)))
    assert [reply.status for reply in replies].count(201) == 9  # 9 x 10,510.50
    assert {reply.code for reply in replies if reply.status != 201} == {"insufficient_funds"}
    assert await fleet.balance(user) == (100_000, 9 * Decimal("10510.5"))
    await fleet.books_hold()


async def test_a_batch_answers_each_in_its_place(fleet: Any) -> None:
    user = fleet.a_user()
    good = {"symbol": "AAPL/USD", "side": "buy", "type": "limit", "limit_price": "10", "quantity": "1"}
    orders = [good | {"client_order_id": f"b{n}"} for n in range(300)]
    orders[7] = good | {"quantity": "-1"}
    orders[8] = good | {"colour": "red"}
    orders[9] = orders[3]
    orders[10] = good | {"account_id": str(uuid4())}
    reply = await fleet.call("POST", f"{ORDERS}/batch", {"orders": orders}, user=user)
    assert reply.status == 207
    statuses = [item["status"] for item in reply.body]
    assert statuses[7:11] == [422, 422, 201, 404]
    assert statuses.count(201) == 297
    assert reply.body[9]["order"] == reply.body[3]["order"]
    assert reply.body[7]["problem"]["code"] == "invalid_quantity"
    assert [item["order"]["client_order_id"] for item in reply.body[11:20]] == [f"b{n}" for n in range(11, 20)]
    await eventually(lambda: len(fleet.of(SubmitOrder, user)) == 296)
    sent = [str(message.order_id) for message in fleet.of(SubmitOrder, user)]
    assert sent == list(dict.fromkeys(item["order"]["order_id"] for item in reply.body if item["status"] == 201))
    assert (await fleet.call("POST", f"{ORDERS}/batch", {"orders": []}, user=user)).code == "invalid_request"
    assert (await fleet.call("POST", f"{ORDERS}/batch", {"orders": [good] * 501}, user=user)).code == "invalid_request"

    page = (await fleet.call("GET", f"{ORDERS}?limit=200&status=open", user=user)).body
    rest = (await fleet.call("GET", f"{ORDERS}?limit=200&status=open&cursor={page['next_cursor']}", user=user)).body
    assert (len(page["data"]), len(rest["data"]), rest["has_more"]) == (200, 96, False)
    assert (await fleet.call("GET", f"{ORDERS}?cursor=nonsense", user=user)).code == "bad_cursor"
    named = (await fleet.call("GET", f"{ORDERS}?client_order_id=b42", user=user)).body["data"]
    assert [order["client_order_id"] for order in named] == ["b42"]

    gone = await fleet.call("DELETE", ORDERS, user=user)
    assert gone.status == 207
    assert [item["status"] for item in gone.body] == [202] * 296
    await eventually(lambda: len(fleet.of(CancelOrder, user)) == 296)
    assert (await fleet.call("DELETE", ORDERS, user=user)).body == []


async def test_a_cancel_is_on_its_way_until_the_venue_has_spoken(fleet: Any) -> None:
    user = fleet.a_user()
    order = await fleet.accepted(user, type="limit", limit_price="90")
    path = f"{ORDERS}/{order['order_id']}"
    reply = await fleet.call("DELETE", path, user=user)
    assert (reply.status, reply.body["status"]) == (202, "pending_cancel")
    assert (await fleet.call("DELETE", path, user=user)).status == 202
    order_id = UUID(order["order_id"])
    await fleet.report(
        user,
        execution.OrderCanceled(
            order_id=order_id, market_at=fleet.clock.now(), code="requested", detail="", cumulative_quantity=Decimal(0)
        ),
    )
    assert (await fleet.becomes(order, user, "canceled"))["reason"]["code"] == "requested"
    assert await fleet.balance(user) == (100_000, 0)
    assert len(fleet.of(CancelOrder, user)) == 1
    closed = await fleet.call("DELETE", path, user=user)
    assert (closed.status, closed.code) == (409, "order_closed")


async def test_another_users_resources_are_as_if_they_were_not_there(fleet: Any) -> None:
    owner, thief = fleet.a_user(), fleet.a_user()
    order = await fleet.accepted(owner)
    for method, path in (
        ("GET", f"{ORDERS}/{order['order_id']}"),
        ("DELETE", f"{ORDERS}/{order['order_id']}"),
        ("GET", f"{ORDERS}/{uuid4()}"),
        ("GET", f"{ORDERS}/nonsense"),
        ("GET", f"{ORDERS}?account_id={order['account_id']}"),
        ("DELETE", f"{ORDERS}?account_id={order['account_id']}"),
        ("GET", f"/api/v1/accounts/{order['account_id']}/ledger"),
        ("GET", f"/api/v1/accounts/{uuid4()}/ledger"),
        ("GET", f"/api/v1/portfolio?account_id={order['account_id']}"),
    ):
        reply = await fleet.call(method, path, user=thief)
        assert reply.status == 404, (path, reply.body)
        assert reply.code in ("order_not_found", "account_not_found")
    assert (await fleet.order(thief, account_id=order["account_id"])).status == 404
    assert (await fleet.shown(order, owner))["status"] == "pending_new"
    viewer = await fleet.call("POST", ORDERS, {}, user=owner, roles=("viewer",))
    assert (viewer.status, viewer.code) == (403, "insufficient_scope")


async def test_a_stale_price_denies_market_orders_only(fleet: Any) -> None:
    user = fleet.a_user()
    stale_after = fleet.clock.now() - timedelta(seconds=1)
    await fleet.publish(DATA_INSTRUMENTS, "OLD/USD", fleet.an_instrument("OLD/USD"))
    await fleet.publish(DATA_QUOTES, "OLD/USD", fleet.a_quote("OLD/USD", "10", stale_after=stale_after))

    async def heard() -> bool:
        return bool((await fleet.order(user, symbol="OLD/USD")).code == "stale_reference")

    await eventually(heard)
    assert (await fleet.order(user, symbol="OLD/USD", type="limit", limit_price="10")).status == 201


async def test_an_order_nobody_answers_is_asked_about(run_trading: Any) -> None:
    async with run_trading() as fleet:
        user = fleet.a_user()
        order = await fleet.accepted(user)
        fleet.clock.advance(seconds=10.5)
        await eventually(lambda: len(fleet.of(QueryOrder, user)) == 1, timeout_s=30)
        fleet.clock.advance(seconds=5.5)
        await eventually(lambda: len(fleet.of(QueryOrder, user)) == 2, timeout_s=30)
        assert [m.attempt for m in fleet.of(QueryOrder, user)] == [1, 2]
        order_id = UUID(order["order_id"])
        fill = fleet.filled(order, 10, "100")
        state = execution.OrderState(
            order_id=order_id,
            market_at=fleet.clock.now(),
            stand=VenueOrderStand.FILLED,
            cumulative_quantity=Decimal(10),
            fills=(fill,),
        )
        await fleet.report(user, state)
        await fleet.becomes(order, user, "filled")
        other = await fleet.accepted(user)
        never_sent = execution.OrderRejected(
            order_id=UUID(other["order_id"]), market_at=fleet.clock.now(), code="never_sent", detail=""
        )
        await fleet.report(user, state, never_sent)
        assert (await fleet.becomes(other, user, "rejected"))["reason"]["code"] == "never_sent"
        fleet.clock.advance(seconds=1000)
        third = await fleet.accepted(user)
        fleet.clock.advance(seconds=11)
        await eventually(lambda: len(fleet.of(QueryOrder, user)) == 3, timeout_s=30)
        assert str(fleet.of(QueryOrder, user)[-1].order_id) == third["order_id"]
        await fleet.books_hold()


@pytest.mark.parametrize(
    ("parse", "deep"),
    [
        (parse_order, b'{"algo":' + b'{"a":' * 100_000),
        (parse_batch, b'{"orders":[' + b"[" * 100_000),
        (parse_replace, b"[" * 100_000),
    ],
)
def test_a_body_as_deep_as_it_can_be_is_refused(parse: Callable[[bytes], object], deep: bytes) -> None:
    with pytest.raises(Problem) as refused:
        parse(deep)
    assert refused.value.code in ("malformed_json", "invalid_request")
