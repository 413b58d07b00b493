"""trading among its neighbours: users, grants, halts, reports and the market."""

import asyncio
import dataclasses
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
from fleet_contracts import execution
from fleet_contracts.auth import User
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.topics import AUTH_USERS, CORE_ENGINE_STATE, DATA_QUOTES
from fleet_contracts.trading import Grant, SubmitOrder
from fleet_contracts.vocabulary import GrantState, Side, StateScope, TradingStateWord, VenueOrderStand
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from fleet_trading.app import create_app

ORDERS = "/api/v1/orders"


async def test_a_user_has_one_account_whoever_comes_first(fleet: Any) -> None:
    user = fleet.a_user()
    account = str(fleet.account_of(user))
    message = User(user_id=user, roles=("trader",), status="active", version=1)
    replies = await asyncio.gather(
        fleet.publish(AUTH_USERS, str(user), message),
        *(fleet.call("GET", "/api/v1/accounts", user=user) for _ in range(10)),
    )
    assert {reply.body["data"][0]["account_id"] for reply in replies[1:]} == {account}
    assert await fleet.balance(user) == (100_000, 0)
    ledger = (await fleet.call("GET", f"/api/v1/accounts/{account}/ledger", user=user)).body["data"]
    assert [entry["reference"] for entry in ledger] == ["opening deposit"]
    assert ledger[0]["settles_on"] == fleet.clock.now().date().isoformat()


async def test_grants_are_judged_kept_and_ended(fleet: Any) -> None:
    user, thief, deployment = fleet.a_user(), fleet.a_user(), uuid4()
    path, body = f"/internal/grants/{deployment}", {"symbols": ["AAPL/USD", "MSFT-USD"], "max_order_notional": "5000"}
    reply = await fleet.call("PUT", path, body, user=user)
    assert (reply.status, reply.body["account_id"]) == (200, str(fleet.account_of(user)))
    assert reply.body["symbols"] == ["AAPL/USD", "MSFT/USD"]
    again = await fleet.call("PUT", path, body, user=user)
    assert (again.status, again.body) == (200, reply.body)
    assert (await fleet.call("PUT", path, {"symbols": ["AAPL/USD"]}, user=user)).code == "grant_conflict"
    assert (await fleet.call("PUT", path, body, user=thief)).status == 404
    stolen = body | {"account_id": str(fleet.account_of(user))}
    assert (await fleet.call("PUT", f"/internal/grants/{uuid4()}", stolen, user=thief)).code == "account_not_found"
    assert (await fleet.call("DELETE", path, user=thief)).code == "grant_not_found"
    for _ in range(2):
        ended = await fleet.call("DELETE", path, user=user)
        assert (ended.status, ended.body["state"], ended.body["account_id"]) == (
            200,
            "ended",
            str(fleet.account_of(user)),
        )
    # A repetition of what made it gets the first answer again, and gives nothing back to what has ended.
    again = await fleet.call("PUT", path, body, user=user)
    assert (again.status, again.body) == (200, reply.body)
    assert (await fleet.call("PUT", path, {"symbols": ["AAPL/USD"]}, user=user)).code == "grant_conflict"
    assert (await fleet.call("DELETE", path, user=user)).body == ended.body
    other = await fleet.call("PUT", f"/internal/grants/{uuid4()}", body, user=user)
    await eventually(lambda: len(fleet.of(Grant, user)) == 3)
    told = [(str(m.deployment_id), m.state, m.version) for m in fleet.of(Grant, user)]
    assert sorted(told[:2]) == [(str(deployment), GrantState.ACTIVE, 1), (str(deployment), GrantState.ENDED, 2)]
    assert told[2] == (other.body["deployment_id"], GrantState.ACTIVE, 1)
    assert (await fleet.call("PUT", path, {"symbols": []}, user=user)).code == "invalid_request"


async def test_a_halt_is_obeyed_and_cancels_stay_possible(fleet: Any) -> None:
    user = fleet.a_user()
    resting = await fleet.accepted(user, symbol="MSFT/USD", type="limit", limit_price="40")

    async def tell(state: TradingStateWord, version: int) -> None:
        change = TradingStateChanged(
            scope=StateScope.SYMBOL,
            target="MSFT/USD",
            state=state,
            epoch=1,
            version=version,
            by="test",
            reason="test",
            changed_at=fleet.clock.now(),
        )
        await fleet.publish(CORE_ENGINE_STATE, "symbol:MSFT/USD", change)

    async def answer(**changed: Any) -> str | None:
        code: str | None = (await fleet.order(user, symbol="MSFT/USD", **changed)).code
        return code

    async def is_answered(code: str | None) -> bool:
        return await answer() == code

    await tell(TradingStateWord.HALTED, 1)
    await eventually(lambda: is_answered("market_halted"))
    assert (await fleet.order(user)).status == 201
    assert (await fleet.call("DELETE", f"{ORDERS}/{resting['order_id']}", user=user)).status == 202
    await tell(TradingStateWord.REDUCING, 2)
    await eventually(lambda: is_answered("market_reducing"))
    assert await answer(side="sell") == "insufficient_position"
    await tell(TradingStateWord.ACTIVE, 3)
    await eventually(lambda: is_answered(None))


async def test_facts_are_booked_and_what_should_not_be_restricts_the_account(fleet: Any) -> None:
    user = fleet.a_user()
    order = await fleet.accepted(user)
    reserved = (await fleet.balance(user))[1]
    dear = fleet.filled(order, 10, "126", fee="1.26")
    assert dear.last_quantity * dear.last_price + dear.fee == reserved * Decimal("1.2")
    await fleet.report(user, dear)
    await fleet.becomes(order, user, "filled")
    account = (await fleet.call("GET", "/api/v1/accounts", user=user)).body["data"][0]
    assert account["status"] == "reduce_only"
    assert (await fleet.order(user)).code == "account_reduce_only"
    sell = await fleet.accepted(user, side="sell", quantity="4")

    # Told again, in other records, in another order: nothing changes. An order nobody knows: it is adopted.
    unknown = {"order_id": str(uuid4())}
    adopted = fleet.filled(unknown, 5, "100", symbol="AAPL/USD", side=Side.BUY)
    await fleet.report(user, adopted)
    await fleet.becomes(unknown, user, "filled")
    before = await fleet.balance(user), await fleet.balance(user, "AAPL")
    rejected = execution.OrderRejected(
        order_id=UUID(sell["order_id"]), market_at=fleet.clock.now(), code="too_late", detail=""
    )
    await fleet.report(user, dear, adopted, dear)
    await fleet.report(user, rejected)
    await fleet.becomes(sell, user, "rejected")
    assert (await fleet.balance(user), (await fleet.balance(user, "AAPL"))[0]) == (before[0], before[1][0])
    assert await fleet.balance(user, "AAPL") == (15, 0)
    assert len((await fleet.call("GET", "/api/v1/trades", user=user)).body["data"]) == 2
    assert await fleet.parked() == 0
    await fleet.books_hold()


async def test_fills_of_orders_nobody_knows_are_booked_and_restrict_the_account(fleet: Any) -> None:
    """As after a restore of an older database: one is told as it happens, one in the answer to a question."""
    user = fleet.a_user()
    await fleet.accepted(user, symbol="MSFT/USD", type="limit", limit_price="40", quantity="1")
    told, stated = {"order_id": str(uuid4())}, {"order_id": str(uuid4())}
    bought = fleet.filled(told, 5, "100", fee="0.5", symbol="AAPL/USD", side=Side.BUY)
    sold = fleet.filled(stated, 2, "110", fee="0.22", symbol="AAPL/USD", side=Side.SELL)
    state = execution.OrderState(
        order_id=UUID(stated["order_id"]),
        market_at=fleet.clock.now(),
        stand=VenueOrderStand.FILLED,
        cumulative_quantity=Decimal(2),
        fills=(sold,),
    )
    await fleet.report(user, bought, state)
    adopted = await fleet.becomes(told, user, "filled")
    assert (adopted["side"], adopted["filled_quantity"], adopted["reason"]["code"]) == ("buy", "5", "adopted")
    assert (await fleet.shown(stated, user))["status"] == "filled"
    account = (await fleet.call("GET", "/api/v1/accounts", user=user)).body["data"][0]
    assert account["status"] == "reduce_only"
    assert (await fleet.balance(user))[0] == 100_000 - 500 + 220 - Decimal("0.72")
    (position,) = (await fleet.call("GET", "/api/v1/positions", user=user)).body["data"]
    assert (position["symbol"], position["quantity"], position["realized_pnl"]) == ("AAPL/USD", "3", "20")
    ledger = (await fleet.call("GET", f"/api/v1/accounts/{account['account_id']}/ledger", user=user)).body["data"]
    assert {f"trade {bought.trade_id}", f"trade {sold.trade_id}"} <= {entry["reference"] for entry in ledger}
    async with fleet.http.get(fleet.url + "/metrics") as response:
        assert 'fleet_trading_alarms_total{code="fill_of_unknown_order"}' in await response.text()
    await fleet.books_hold()


async def test_on_a_replay_no_order_is_ever_too_late(run_trading: Any) -> None:
    async with run_trading(feed="replay") as fleet:
        user = fleet.a_user()
        await fleet.accepted(user)
        await eventually(lambda: fleet.of(SubmitOrder, user))
        assert fleet.of(SubmitOrder, user)[0].send_by is None
        worked = await fleet.order(user, algo={"type": "twap", "duration_s": 60, "slices": 4})
        assert (worked.status, worked.code) == (422, "unsupported"), "its time does not run"
        connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
        assert await connection.fetchval("SELECT count(*) FROM due WHERE kind = 'unanswered-orders'") == 0
        await connection.close()


async def test_marks_move_what_an_account_is_worth(fleet: Any) -> None:
    user = fleet.a_user()
    order = await fleet.accepted(user, symbol="MSFT/USD")
    await fleet.report(user, fleet.filled(order, 10, "50", fee="0.5"))
    await fleet.becomes(order, user, "filled")
    await fleet.publish(DATA_QUOTES, "MSFT/USD", fleet.a_quote("MSFT/USD", "60"))

    async def moved() -> bool:
        return bool((await fleet.call("GET", "/api/v1/portfolio", user=user)).body["equity"] == "100099.5")

    await eventually(moved)
    portfolio = (await fleet.call("GET", "/api/v1/portfolio", user=user)).body
    assert (portfolio["unrealized_pnl"], portfolio["cash"], portfolio["buying_power"]) == ("100", "99499.5", "99499.5")
    await fleet.publish(DATA_QUOTES, "MSFT/USD", fleet.a_quote("MSFT/USD", "50"))


async def test_no_order_is_judged_before_the_market_is_known(fleet: Any) -> None:
    """An order that came then would be denied for a symbol that is traded, and its client_order_id used up."""
    settings = fleet.settings.model_copy(update={"kafka_url": "127.0.0.1:1", "ordinal": 7})
    async with served(create_app(settings, clock=fleet.clock)) as url:
        early = dataclasses.replace(fleet, url=url)
        user = fleet.a_user()
        reply = await early.order(user, client_order_id="early")
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (503, "unavailable", "1")
        assert (await early.call("GET", "/api/v1/portfolio", user=user)).body["equity"] == "100000"
    assert (await fleet.order(user, client_order_id="early")).status == 201


async def test_a_halt_is_known_before_the_market_is(fleet: Any) -> None:
    """halted → another replica starts, which Kafka does not answer → it denies by the halt that is kept, and says so again"""
    user, halted = fleet.a_user(), TradingStateWord.HALTED
    change = TradingStateChanged(
        scope=StateScope.SYSTEM,
        target=None,
        state=halted,
        epoch=1,
        version=1,
        by="test",
        reason="test",
        changed_at=fleet.clock.now(),
    )
    await fleet.publish(CORE_ENGINE_STATE, "system", change)
    connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
    try:
        await eventually(lambda: connection.fetch("SELECT FROM trading_state WHERE scope = 'system'"))
    finally:
        await connection.close()
    settings = fleet.settings.model_copy(update={"kafka_url": "127.0.0.1:1", "ordinal": 7})
    async with served(create_app(settings, clock=fleet.clock)) as url:
        early = dataclasses.replace(fleet, url=url)
        for replayed in (None, "true"):
            denied = await early.order(user, client_order_id="halted")
            assert (denied.status, denied.code) == (422, "market_halted")
            assert denied.headers.get("Idempotent-Replayed") == replayed
        assert (await early.order(user, quantity=None, notional="500")).code == "market_halted"
        (kept,) = await early.orders(user, client_order_id="halted")
        assert (kept["status"], kept["reason"]["code"]) == ("denied", "market_halted")
        body = {"symbol": "AAPL/USD", "side": "buy", "type": "market", "quantity": "10"}
        batch = await early.call("POST", f"{ORDERS}/batch", {"orders": [body, body]}, user=user)
        assert [one["problem"]["code"] for one in batch.body] == ["market_halted"] * 2
        preview = await early.call("POST", f"{ORDERS}/preview", body, user=user)
        assert [reason["code"] for reason in preview.body["reasons"]] == ["market_halted"]
    active = msgspec.structs.replace(change, state=TradingStateWord.ACTIVE, version=2)
    await fleet.publish(CORE_ENGINE_STATE, "system", active)

    async def is_accepted() -> bool:
        return bool((await fleet.order(user)).status == 201)

    await eventually(is_accepted)


async def test_openapi_names_the_routes_and_their_shapes(fleet: Any) -> None:
    document = (await fleet.call("GET", "/openapi.json", user=fleet.a_user())).body
    post = document["paths"]["/api/v1/orders"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"]["required"] == ["symbol", "side", "type"]
    shown = post["responses"]["201"]["content"]["application/json"]["schema"]
    assert {"order_id", "status", "filled_quantity"} <= set(shown["properties"])
    assert not any(path.startswith("/internal") for path in document["paths"])
