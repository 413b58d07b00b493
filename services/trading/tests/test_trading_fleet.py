"""trading among its neighbours: signals, users, grants, halts, replicas, and what goes wrong."""

import asyncio
import dataclasses
import os
import sys
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from fleet_contracts import execution
from fleet_contracts.auth import User
from fleet_contracts.core_engine import CancelRequested, OrderRequested, TradingStateChanged
from fleet_contracts.topics import AUTH_USERS, CORE_ENGINE_ORDER_REQUESTS, CORE_ENGINE_STATE, DATA_QUOTES
from fleet_contracts.trading import AccountChanged, CancelOrder, Grant, SubmitOrder
from fleet_contracts.vocabulary import GrantState, OrderType, Side, StateScope, TimeInForce, TradingStateWord
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from fleet_trading.app import create_app
from fleet_trading.verify import CHECKS

ORDERS = "/api/v1/orders"
RELAY_LOCK = 0x0B05_0001


def a_signal(fleet: Any, user: UUID, **changed: Any) -> OrderRequested:
    fields: dict[str, Any] = {
        "signal_id": uuid4(),
        "deployment_id": uuid4(),
        "account_id": fleet.account_of(user),
        "user_id": user,
        "strategy_id": uuid4(),
        "symbol": "AAPL/USD",
        "side": Side.BUY,
        "order_type": OrderType.MARKET,
        "quantity": Decimal(20),
        "limit_price": None,
        "time_in_force": TimeInForce.GTC,
    }
    return OrderRequested(**(fields | changed))


async def orders_of(fleet: Any, user: UUID, **query: str) -> list[dict[str, Any]]:
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    reply = await fleet.call("GET", f"{ORDERS}?{asked}", user=user)
    found: list[dict[str, Any]] = reply.body["data"]
    return found


async def registered(fleet: Any, *, roles: tuple[str, ...] = ("trader",), status: str = "active") -> UUID:
    user: UUID = fleet.a_user()
    await fleet.publish(AUTH_USERS, str(user), User(user_id=user, roles=roles, status=status, version=1))

    async def opened() -> bool:
        return bool((await fleet.balance(user))[0] == 100_000)

    await eventually(opened)
    return user


async def test_a_signal_becomes_an_order_and_a_denied_one_too(fleet: Any) -> None:
    """core-engine → order-requests → trading → order-commands"""
    user = await registered(fleet)
    key, market_at = str(fleet.account_of(user)), fleet.clock.now() - timedelta(days=400)
    good = a_signal(fleet, user)
    dear = a_signal(fleet, user, quantity=Decimal(10**6))
    await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, key, good, dear, good, market_at=market_at)
    await eventually(lambda: len(fleet.of(SubmitOrder, user)) == 1)
    (sent,) = fleet.of(SubmitOrder, user)
    assert (sent.client_order_id, sent.signal_id, sent.deployment_id) == (
        f"sig-{good.signal_id}",
        good.signal_id,
        good.deployment_id,
    )

    async def denied() -> list[dict[str, Any]]:
        return [order for order in await orders_of(fleet, user) if order["status"] == "denied"]

    (left,) = await eventually(denied)
    assert (left["signal_id"], left["reason"]["code"]) == (str(dear.signal_id), "insufficient_funds")
    shown = await orders_of(fleet, user, client_order_id=f"sig-{good.signal_id}")
    assert shown[0]["market_at"] == market_at.isoformat().replace("+00:00", "Z")
    assert shown[0]["strategy_id"] == str(good.strategy_id)

    cancel = CancelRequested(
        signal_id=uuid4(),
        deployment_id=good.deployment_id,
        account_id=good.account_id,
        user_id=user,
        target_signal_id=good.signal_id,
    )
    foreign = CancelRequested(
        signal_id=uuid4(),
        deployment_id=uuid4(),
        account_id=good.account_id,
        user_id=user,
        target_signal_id=good.signal_id,
    )
    await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, key, foreign, cancel)
    await eventually(lambda: len(fleet.of(CancelOrder, user)) == 1)
    await fleet.books_hold()


async def test_a_signal_on_a_foreign_account_is_denied_and_tells_its_owner_nothing(fleet: Any) -> None:
    owner, thief = await registered(fleet), await registered(fleet)
    told = len(fleet.of(AccountChanged, owner))
    stolen = a_signal(fleet, thief, account_id=fleet.account_of(owner))
    await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, str(stolen.account_id), stolen)

    async def kept() -> Any:
        connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
        try:
            return await connection.fetchrow("SELECT * FROM orders WHERE signal_id = $1", stolen.signal_id)
        finally:
            await connection.close()

    row = await eventually(kept)
    assert (row["stand"], row["reason_code"], row["user_id"]) == ("denied", "account_not_found", thief)
    assert await orders_of(fleet, owner) == []
    assert len(fleet.of(AccountChanged, owner)) == told


async def test_a_strategy_has_the_rights_its_owner_has_now(fleet: Any) -> None:
    user = await registered(fleet, roles=("viewer",))
    signal = a_signal(fleet, user)
    await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, str(signal.account_id), signal)

    async def denied() -> bool:
        return [order["reason"]["code"] for order in await orders_of(fleet, user)] == ["insufficient_scope"]

    await eventually(denied)


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
    assert (await fleet.call("PUT", path, body, user=user)).status == 409
    await eventually(lambda: len(fleet.of(Grant, user)) == 2)
    assert [(m.state, m.version) for m in fleet.of(Grant, user)] == [(GrantState.ACTIVE, 1), (GrantState.ENDED, 2)]
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
    dear = fleet.filled(order, 10, "126", fee="1.26")
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
    await fleet.books_hold()


async def test_two_replicas_share_the_accounts(fleet: Any, run_trading: Any) -> None:
    """The same database, two processes' memories: each decides on what the other has written."""
    database = fleet.settings.database_url.get_secret_value()
    async with run_trading(database=database, ordinal=1) as other:
        user = fleet.a_user()
        bodies = [{"quantity": "7", "client_order_id": f"r{n % 60}"} for n in range(120)]
        replies = await asyncio.gather(*((fleet, other)[n % 2].order(user, **body) for n, body in enumerate(bodies)))
        accepted = {reply.body["order_id"] for reply in replies if reply.status == 201}
        # Each id went to one of the replicas twice; 735.735 are reserved by each of 60 orders.
        assert {reply.status for reply in replies} == {201}
        assert len(accepted) == 60
        assert await fleet.balance(user) == (100_000, 60 * Decimal("735.735"))
        racing = await asyncio.gather(
            *((fleet, other)[n % 2].order(user, quantity="7", client_order_id=f"same{n // 2}") for n in range(40))
        )
        assert {reply.status for reply in racing} == {201}
        assert len({reply.body["order_id"] for reply in racing}) == 20
        rest = await asyncio.gather(*((fleet, other)[n % 2].order(user, quantity="70") for n in range(30)))
        assert [reply.status for reply in rest].count(201) == 5
    await fleet.books_hold()


async def test_while_orders_do_not_leave_none_is_accepted(run_trading: Any, make_database: Any) -> None:
    database = await make_database("trading")
    holder = await asyncpg.connect(database)
    await holder.execute("SELECT pg_advisory_lock($1)", RELAY_LOCK)
    async with run_trading(database=database) as fleet:
        user = fleet.a_user()
        await fleet.accepted(user)
        fleet.clock.advance(seconds=1.5)

        async def is_slow() -> bool:
            reply = await fleet.order(user, client_order_id="late")
            return reply.status == 503 and reply.code == "order_path_slow" and "Retry-After" in reply.headers

        await eventually(is_slow)
        batch = await fleet.call("POST", f"{ORDERS}/batch", {"orders": [{}]}, user=user)
        assert (batch.status, batch.code) == (503, "order_path_slow")
        await holder.close()

        async def is_fast() -> bool:
            return bool((await fleet.order(user, client_order_id="late")).status == 201)

        await eventually(is_fast)


async def test_on_a_replay_no_order_is_ever_too_late(run_trading: Any) -> None:
    async with run_trading(feed="replay") as fleet:
        user = fleet.a_user()
        await fleet.accepted(user)
        await eventually(lambda: fleet.of(SubmitOrder, user))
        assert fleet.of(SubmitOrder, user)[0].send_by is None
        connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
        assert await connection.fetchval("SELECT count(*) FROM due") == 0
        await connection.close()


async def test_memory_is_only_a_cache(fleet: Any) -> None:
    """A database that was changed by others, or a group that failed, is read again."""
    user = fleet.a_user()
    await fleet.accepted(user)
    connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
    account = fleet.account_of(user)
    try:
        # The group fails at its very end, after all is decided: nothing of it may stay in memory.
        await connection.execute(
            f"ALTER TABLE orders ADD CONSTRAINT no_more CHECK (account_id <> '{account}' OR quantity <> 11) NOT VALID"
        )
        results = await asyncio.gather(*(fleet.order(user, quantity=str(q)) for q in (10, 11, 12)))
        assert [reply.status for reply in results] == [201, 500, 201]
        await connection.execute("ALTER TABLE orders DROP CONSTRAINT no_more")
        expected = sum((q * Decimal("105.105") for q in (10, 10, 12)), Decimal(0))
        assert await fleet.balance(user) == (100_000, expected)
        # Another process moves the account on: what is in memory here does not count.
        async with connection.transaction():
            await connection.execute("UPDATE accounts SET version = version + 1 WHERE account_id = $1", account)
            await connection.execute("UPDATE balances SET total = 4000 WHERE account_id = $1", account)
        assert (await fleet.order(user)).code == "insufficient_funds"
        await connection.execute("UPDATE balances SET total = 100000 WHERE account_id = $1", account)
    finally:
        await connection.close()


async def test_a_commit_without_an_answer_is_unknown_and_the_same_again_is_safe(fleet: Any) -> None:
    user = fleet.a_user()
    await fleet.accepted(user)
    connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
    try:
        # The server goes away in the middle of COMMIT.
        await connection.execute(
            """
            CREATE FUNCTION go_away() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER goes_away AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (new.quantity = 13) EXECUTE FUNCTION go_away()
            """
        )
        lost = await fleet.order(user, quantity="13", client_order_id="lost")
        assert (lost.status, lost.code) == (504, "outcome_unknown")
        await connection.execute("DROP TRIGGER goes_away ON orders")
    finally:
        await connection.close()
    assert (await fleet.order(user, quantity="13", client_order_id="lost")).status == 201
    assert await fleet.balance(user) == (100_000, 23 * Decimal("105.105"))
    await fleet.books_hold()


async def test_the_books_are_checked_and_a_wrong_one_is_found(run_trading: Any) -> None:
    async with run_trading() as fleet:
        user = fleet.a_user()
        order = await fleet.accepted(user)
        await fleet.report(user, fleet.filled(order, 10, "100", fee="1"))
        await fleet.becomes(order, user, "filled")
        await fleet.accepted(user)
        url = fleet.settings.database_url.get_secret_value()

        async def verified() -> tuple[int, str]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fleet_trading.admin", "verify"),
                env={**os.environ, "FLEET_DATABASE_URL": url},
                stdout=asyncio.subprocess.PIPE,
            )
            output, _ = await process.communicate()
            return process.returncode or 0, output.decode()

        code, output = await verified()
        assert (code, '"ok":true' in output) == (0, True), output
        connection = await asyncpg.connect(url)
        with pytest.raises(asyncpg.RaiseError, match="append only"):
            await connection.execute("DELETE FROM entries")
        for damage in (
            "UPDATE balances SET reserved = reserved + 1 WHERE currency = 'USD'",
            "UPDATE balances SET total = total + 1 WHERE currency = 'USD'",
            "UPDATE orders SET filled_quantity = 9 WHERE stand = 'filled'",
            "INSERT INTO entries SELECT account_id, entry_no + 100, transaction_id, book, kind, currency, amount, "
            "balance_after, reference, settles_on, at, market_at FROM entries LIMIT 1",
            "UPDATE trades SET trade_no = 7, quantity = 11",
        ):
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(damage)
            broken = [what for what, query in CHECKS.items() if await connection.fetch(query)]
            assert broken, damage
            await transaction.rollback()
        await connection.execute("UPDATE balances SET reserved = reserved + 1 WHERE currency = 'USD'")
        await connection.close()
        code, output = await verified()
        assert code == 1
        assert "reserved is not the sum over open orders" in output


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


async def test_openapi_names_the_routes_and_their_shapes(fleet: Any) -> None:
    document = (await fleet.call("GET", "/openapi.json", user=fleet.a_user())).body
    post = document["paths"]["/api/v1/orders"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"]["required"] == ["symbol", "side", "type"]
    shown = post["responses"]["201"]["content"]["application/json"]["schema"]
    assert {"order_id", "status", "filled_quantity"} <= set(shown["properties"])
    assert not any(path.startswith("/internal") for path in document["paths"])
