"""trading and its database: replicas that share it, what fails in it, and the check of the books."""

import asyncio
import os
import sys
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from fleet_testkit.databases import waiting_for_locks
from fleet_testkit.eventually import eventually
from fleet_trading.verify import CHECKS

ORDERS = "/api/v1/orders"
ORDER = {"symbol": "AAPL/USD", "side": "buy", "type": "market", "quantity": "10"}
RELAY_LOCK = 0x0B05_0001


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
        assert await both_at_once(fleet, other, user) == {201}
        rest = await asyncio.gather(*((fleet, other)[n % 2].order(user, quantity="70") for n in range(30)))
        assert [reply.status for reply in rest].count(201) == 5
    await fleet.books_hold()


async def both_at_once(fleet: Any, other: Any, user: Any) -> set[int]:
    """One order, sent to both while both wait for the account: neither can see that the other has taken its id."""
    holder = await asyncpg.connect(fleet.settings.database_url.get_secret_value())

    async def are_waiting() -> bool:
        return len(await waiting_for_locks(holder)) == 2

    async with holder.transaction():
        await holder.execute("SELECT FROM accounts WHERE account_id = $1 FOR UPDATE", fleet.account_of(user))
        sent = [asyncio.create_task(one.order(user, quantity="7", client_order_id="both")) for one in (fleet, other)]
        await eventually(are_waiting, what="both wait for the account")
    replies = await asyncio.gather(*sent)
    await holder.close()
    assert len({str(reply.body.get("order_id")) for reply in replies}) == 1, [reply.body for reply in replies]
    return {reply.status for reply in replies}


async def test_while_orders_do_not_leave_none_is_accepted(run_trading: Any, make_database: Any) -> None:
    database = await make_database("trading")
    holder = await asyncpg.connect(database)
    await holder.execute("SELECT pg_advisory_lock($1)", RELAY_LOCK)
    async with run_trading(database=database) as fleet:
        user = fleet.a_user()
        first = await fleet.order(user, client_order_id="early")
        assert first.status == 201
        fleet.clock.advance(seconds=1.5)

        async def is_slow() -> bool:
            reply = await fleet.order(user, quantity="1")
            return reply.status == 503 and reply.code == "order_path_slow" and "Retry-After" in reply.headers

        await eventually(is_slow)
        early, late = ({**ORDER, "client_order_id": name} for name in ("early", "late"))
        batch = await fleet.call("POST", f"{ORDERS}/batch", {"orders": [late]}, user=user)
        assert (batch.status, batch.code, batch.headers["Retry-After"]) == (503, "order_path_slow", "1")

        # What is accepted already is not asked of the path: the same again gets its first answer.
        again = await fleet.order(user, client_order_id="early")
        assert (again.status, again.body, again.headers["Idempotent-Replayed"]) == (201, first.body, "true")
        assert (await fleet.order(user, client_order_id="early", quantity="11")).code == "client_order_id_reused"
        batch = await fleet.call("POST", f"{ORDERS}/batch", {"orders": [late, early, {}]}, user=user)
        assert [item["status"] for item in batch.body] == [503, 201, 422]
        assert batch.body[0]["problem"]["code"] == "order_path_slow"
        assert batch.body[1]["order"] == first.body
        path = f"{ORDERS}/{first.body['order_id']}"
        assert (await fleet.call("DELETE", path, user=user)).status == 202
        await holder.close()

        async def is_fast() -> bool:
            return bool((await fleet.order(user, client_order_id="late")).status == 201)

        await eventually(is_fast)


async def test_who_finds_too_many_waiting_is_told_to_try_again_a_cancel_too(fleet: Any, run_trading: Any) -> None:
    user = fleet.a_user()
    order = await fleet.accepted(user)
    path, database = f"{ORDERS}/{order['order_id']}", fleet.settings.database_url.get_secret_value()
    async with run_trading(database=database, ordinal=1, trading_most_waiting=0) as full:
        replies = [await full.call("DELETE", path, user=user), await full.order(user)]
    assert [(r.status, r.code, r.headers["Retry-After"]) for r in replies] == [(503, "order_path_slow", "1")] * 2
    assert (await fleet.call("DELETE", path, user=user)).status == 202


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
