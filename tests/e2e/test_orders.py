"""Orders through the gateway: what is accepted is filled and booked, what is wrong is refused and changes nothing."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fleet_auth.sealing import Sealer
from fleet_auth.signing import KeyRing, SigningKeys
from fleet_chassis.clock import SystemClock
from fleet_chassis.database import Database
from fleet_sdk.problems import ApiError
from fleet_testkit.eventually import eventually
from whole_fleet import User, WholeFleet, until_priced, until_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SYMBOL = "AAPL/USD"


def order(**changes: Any) -> dict[str, Any]:
    body = {"symbol": SYMBOL, "side": "buy", "type": "market", "quantity": "10", "time_in_force": "gtc"}
    return {name: value for name, value in (body | changes).items() if value is not None}


async def test_a_market_order_fills_and_is_booked(user: User) -> None:
    """register → login → buy → fill → ledger, position and portfolio agree → sell → flat, fees paid."""
    await until_priced(user.client, SYMBOL)
    placed = await user.client.place_order(order())
    filled = await until_status(user.client, placed["order_id"], "filled")
    trades = [trade async for trade in user.client.trades()]
    assert sum(Decimal(trade["quantity"]) for trade in trades) == 10
    cost = sum(Decimal(trade["quantity"]) * Decimal(trade["price"]) + Decimal(trade["fee"]) for trade in trades)
    portfolio = await user.client.portfolio()
    assert Decimal(portfolio["cash"]) == 100_000 - cost
    assert [(p["symbol"], Decimal(p["quantity"])) for p in await user.client.positions()] == [(SYMBOL, Decimal(10))]
    assert Decimal(filled["average_fill_price"]) * 10 + Decimal(filled["fees"]) == cost
    sold = await user.client.place_order(order(side="sell"))
    await until_status(user.client, sold["order_id"], "filled")
    assert not [p for p in await user.client.positions() if Decimal(p["quantity"])]


async def test_a_resting_order_is_cancelled_and_its_funds_released(user: User) -> None:
    price = await until_priced(user.client, SYMBOL)
    placed = await user.client.place_order(order(type="limit", limit_price=str((price / 2).quantize(Decimal("0.01")))))
    await until_status(user.client, placed["order_id"], "new")
    reserved = Decimal((await user.client.portfolio())["buying_power"])
    assert reserved < 100_000
    await user.client.cancel_order(placed["order_id"])
    await until_status(user.client, placed["order_id"], "canceled")
    assert Decimal((await user.client.portfolio())["buying_power"]) == 100_000


BAD = [
    (order(symbol="NOPE/USD"), 422, "unknown_symbol"),
    (order(quantity="-1"), 422, None),
    (order(quantity="0.001"), 422, "invalid_quantity"),
    (order(quantity="NaN"), 422, None),
    (order(quantity="1000000"), 422, "insufficient_funds"),
    (order(side="sell"), 422, "insufficient_position"),
    (order(type="limit"), 422, None),
    (order(type="limit", limit_price="100.00001"), 422, "invalid_price"),
    (order(type="trailing_stop"), 422, "invalid_request"),
    (order(time_in_force="gtd"), 422, "invalid_request"),
    (order(algo={"type": "vwap"}), 422, "unsupported"),
    (order(colour="red"), 422, None),
    (order(client_order_id="sig-1"), 422, None),
    (order(account_id="00000000-0000-0000-0000-000000000001"), 404, "account_not_found"),
]


@pytest.mark.parametrize(
    ("body", "status", "code"), BAD, ids=[str(code) + str(i) for i, (_, _, code) in enumerate(BAD)]
)
async def test_a_bad_order_is_refused_and_changes_nothing(
    user: User, body: dict[str, Any], status: int, code: str | None
) -> None:
    await until_priced(user.client, SYMBOL)
    before = await user.client.portfolio()
    with pytest.raises(ApiError) as refused:
        await user.client.place_order(body)
    assert refused.value.status == status
    assert code is None or refused.value.code == code
    after = await user.client.portfolio()
    assert {**after, "as_of": None, "version": None} == {**before, "as_of": None, "version": None}
    assert not [trade async for trade in user.client.trades()] and not await user.client.positions()
    left = [(found["status"], found["reason"]["code"]) async for found in user.client.orders(status="all")]
    assert left in ([], [("denied", refused.value.code)])


async def test_malformed_json_is_a_problem(fleet: WholeFleet, user: User) -> None:
    async with aiohttp.ClientSession() as session:
        headers = await user.client._authorization()
        async with session.post(
            f"{fleet.url}/api/v1/orders", data=b"{", headers={**headers, "Content-Type": "application/json"}
        ) as response:
            assert response.status == 400
            assert response.content_type == "application/problem+json"
            problem = await response.json(content_type=None)
    assert problem["code"] == "malformed_json"
    assert problem["request_id"]


async def test_the_same_client_order_id_is_the_same_order(user: User, other_user: User) -> None:
    """The same body at the same time → one order; another body → 409; another account has names of its own."""
    await until_priced(user.client, SYMBOL)
    body = order(client_order_id="mine-1")
    answers = await asyncio.gather(*(user.client.place_order(body) for _ in range(20)))
    assert len({answer["order_id"] for answer in answers}) == 1
    with pytest.raises(ApiError) as refused:
        await user.client.place_order(order(client_order_id="mine-1", quantity="11"))
    assert refused.value.status == 409
    theirs = await other_user.client.place_order(body)
    assert theirs["order_id"] != answers[0]["order_id"]
    await until_status(user.client, answers[0]["order_id"], "filled")
    assert len([found async for found in user.client.orders(status="all")]) == 1
    assert sum([Decimal(trade["quantity"]) async for trade in user.client.trades()]) == 10


async def test_of_different_bodies_with_one_client_order_id_one_wins(user: User) -> None:
    await until_priced(user.client, SYMBOL)

    async def place(quantity: int) -> str:
        try:
            placed = await user.client.place_order(order(client_order_id="mine-1", quantity=str(quantity)))
        except ApiError as error:
            assert error.status == 409
            return error.code
        return str(placed["order_id"])

    answers = await asyncio.gather(*(place(quantity) for quantity in range(1, 21)))
    (winner,) = [found async for found in user.client.orders(status="all")]
    assert answers.count(winner["order_id"]) == 1
    assert len(set(answers)) == 2


async def test_a_denial_uses_up_its_client_order_id(user: User) -> None:
    await until_priced(user.client, SYMBOL)
    for _ in range(2):
        with pytest.raises(ApiError) as denied:
            await user.client.place_order(order(client_order_id="big", quantity="1000000"))
        assert (denied.value.status, denied.value.code) == (422, "insufficient_funds")
    with pytest.raises(ApiError) as reused:
        await user.client.place_order(order(client_order_id="big"))
    assert reused.value.status == 409
    (left,) = [found async for found in user.client.orders(status="all")]
    assert left["status"] == "denied"


async def test_tokens_that_are_expired_or_foreign_are_refused(fleet: WholeFleet, user: User) -> None:
    """One that auth's own key signs is taken until its time is over; one of another key, or of none, never."""
    (_, shown) = (await user.client._authorization())["Authorization"].split()
    claims = jwt.decode(shown, options={"verify_signature": False})
    keys = await signing_keys(fleet)
    now = int(datetime.now(UTC).timestamp())

    def signed(key: Ed25519PrivateKey, *, ends_in_s: int) -> str:
        told = claims | {"iat": now - 300, "exp": now + ends_in_s}
        return jwt.encode(told, key, "EdDSA", {"kid": keys.kid, "typ": "at+jwt"})

    foreign = signed(Ed25519PrivateKey.generate(), ends_in_s=300)
    refused = {
        None: "unauthenticated",
        "nonsense": "invalid_token",
        foreign: "invalid_token",
        signed(keys.private_key, ends_in_s=-60): "token_expired",
    }
    async with aiohttp.ClientSession() as session:
        for token, code in refused.items():
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            async with session.get(f"{fleet.url}/api/v1/orders", headers=headers) as response:
                problem = await response.json(content_type=None)
                assert (response.status, problem.get("code")) == (401, code), (token, problem)
                assert problem["request_id"]
            with pytest.raises(aiohttp.WSServerHandshakeError) as no_socket:
                await session.ws_connect(f"{fleet.url}/ws", headers=headers)
            assert no_socket.value.status == 401
        headers = {"Authorization": f"Bearer {signed(keys.private_key, ends_in_s=300)}"}
        async with session.get(f"{fleet.url}/api/v1/orders", headers=headers) as response:
            assert response.status == 200, "it is the time alone that the expired one is refused for"


async def signing_keys(fleet: WholeFleet) -> SigningKeys:
    """auth's own, as it reads them."""
    sealer = Sealer(fleet.state.field_keys, fleet.state.private_key("auth"))
    async with Database(fleet.description["services"]["auth"]["database_url"], application_name="test") as database:
        ring = KeyRing(
            database, sealer, SystemClock(), rotate_after=timedelta(days=365), tokens_live=timedelta(seconds=300)
        )
        await ring.load()
    return ring.current


async def test_another_users_things_do_not_exist(user: User, other_user: User) -> None:
    await until_priced(user.client, SYMBOL)
    placed = await user.client.place_order(order())
    account_id = placed["account_id"]
    with pytest.raises(ApiError) as theirs:
        await other_user.client.order(placed["order_id"])
    with pytest.raises(ApiError) as nobodys:
        await other_user.client.order("00000000-0000-0000-0000-000000000001")
    assert (
        (theirs.value.status, theirs.value.code)
        == (nobodys.value.status, nobodys.value.code)
        == (404, "order_not_found")
    )
    nobody = "00000000-0000-0000-0000-000000000001"
    for path in ("/orders", "/trades", "/positions", "/portfolio", "/accounts/{}/ledger", "/accounts/{}/balances"):
        refusals: list[tuple[int, str, str]] = []
        for asked in (account_id, nobody):
            params = {} if "{}" in path else {"account_id": asked}
            with pytest.raises(ApiError) as hidden:
                await other_user.client.request("GET", path.format(asked), params=params)
            refusals.append((hidden.value.status, hidden.value.code, hidden.value.detail.replace(asked, "it")))
        assert refusals[0] == refusals[1], path
        assert refusals[0][0] == 404
    with pytest.raises(ApiError) as cancelled:
        await other_user.client.cancel_order(placed["order_id"])
    assert cancelled.value.status == 404
    with pytest.raises(ApiError) as traded:
        await other_user.client.place_order(order(account_id=account_id))
    assert traded.value.code == "account_not_found"


async def test_a_batch_answers_each_in_order(user: User) -> None:
    await until_priced(user.client, SYMBOL)
    answers = await user.client.place_orders([order(), order(symbol="NOPE/USD"), order(quantity="5")])
    assert [answer["status"] for answer in answers] == [201, 422, 201]
    assert answers[1]["problem"]["code"] == "unknown_symbol"
    for answer in (answers[0], answers[2]):
        await until_status(user.client, answer["order"]["order_id"], "filled")
    assert [Decimal(p["quantity"]) for p in await user.client.positions()] == [Decimal(15)]


async def test_the_socket_tells_the_order_and_the_trade(user: User) -> None:
    await until_priced(user.client, SYMBOL)
    async with user.client.socket() as socket:
        await socket.subscribe("order_updates")
        await socket.subscribe("trades")
        await socket.subscribe("portfolio")
        placed = await user.client.place_order(order())
        statuses: list[str] = []
        traded = Decimal(0)
        sequences: dict[str, list[int]] = {}
        async with asyncio.timeout(10):
            async for message in socket:
                sequences.setdefault(message["channel"], []).append(message["sequence"])
                for item in message["data"]:
                    if message["channel"] == "order_updates" and item["order_id"] == placed["order_id"]:
                        statuses.append(item["status"])
                    if message["channel"] == "trades":
                        traded += Decimal(item["quantity"])
                if "filled" in statuses and traded == 10:
                    break
    assert statuses[-1] == "filled"
    for numbers in sequences.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_an_order_is_worked_in_parts_and_its_progress_shown(user: User) -> None:
    """POST /orders with a twap → parts at the venue → each fill booked → filled; /executions/{id} tells how far it is"""
    await until_priced(user.client, SYMBOL)
    placed = await user.client.place_order(order(algo={"type": "twap", "duration_s": 3, "slices": 3}))
    filled = await until_status(user.client, placed["order_id"], "filled")
    trades = [trade async for trade in user.client.trades(order_id=placed["order_id"])]
    assert [Decimal(trade["quantity"]) for trade in reversed(trades)] == [3, 3, 4]
    assert Decimal(filled["filled_quantity"]) == 10
    execution = await user.client.request("GET", f"/executions/{placed['order_id']}")
    assert execution["algo"]["state"] == "ended"
    assert [part["stand"] for part in execution["venue_orders"]] == ["filled"] * 3
    with pytest.raises(ApiError) as refused:
        await user.client.request("POST", f"/executions/{placed['order_id']}/pause")
    assert refused.value.code == "order_closed"


async def test_a_trade_is_corrected_and_busted_and_the_books_follow(fleet: WholeFleet, user: User) -> None:
    """buy 10 → an administrator: it was 8 → one cheaper → there was no trade → order, trade, cash and position say so"""
    await until_priced(user.client, SYMBOL)
    placed = await user.client.place_order(order())
    await until_status(user.client, placed["order_id"], "filled")
    executed = await user.client.request("GET", f"/executions/{placed['order_id']}")
    (fill,) = executed["venue_orders"][0]["fills"]
    path = f"/exchanges/paper/trades/{fill['venue_trade_id']}"
    price = Decimal(fill["price"]) - 1
    with pytest.raises(ApiError) as refused:
        await user.client.request("POST", f"{path}/bust", {"reason": "Mine."})
    assert (refused.value.status, refused.value.code) == (403, "insufficient_scope")

    async def booked(quantity: int) -> dict[str, Any]:
        async def trade() -> dict[str, Any] | None:
            (found,) = [trade async for trade in user.client.trades()]
            return found if Decimal(found["quantity"]) == quantity else None

        return await eventually(trade, timeout_s=10, what=f"the trade is of {quantity}") or {}

    async with fleet.admin() as admin:
        await admin.request("POST", f"{path}/correct", {"quantity": "8", "price": f"{price:f}", "reason": "Erroneous."})
        trade = await booked(8)
        assert (trade["trade_id"], Decimal(trade["price"])) == (fill["trade_id"], price)
        portfolio = await user.client.portfolio()
        assert Decimal(portfolio["cash"]) == 100_000 - 8 * price - Decimal(trade["fee"])
        assert [Decimal(p["quantity"]) for p in await user.client.positions()] == [8]
        await admin.request("POST", f"{path}/bust", {"reason": "Erroneous."})
        await booked(0)
    assert Decimal((await user.client.portfolio())["cash"]) == 100_000
    shown = await until_status(user.client, placed["order_id"], "canceled")
    assert (shown["filled_quantity"], shown["reason"]["code"]) == ("0", "trade_busted")
    assert not [p for p in await user.client.positions() if Decimal(p["quantity"])]
    fleet.verify_books()
