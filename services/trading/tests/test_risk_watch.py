"""Losses that come with prices alone: of accounts in memory, and of those that are brought there."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

from account_commands import an_account
from fleet_chassis.database import Database
from fleet_contracts.topics import DATA_QUOTES
from fleet_contracts.trading import AccountBreached
from fleet_contracts.vocabulary import TradingStateWord
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import MakeDatabase
from fleet_trading.risk_watch import AT_ONCE, RiskWatch
from fleet_trading.store import AccountCache
from fleet_trading.store.holders import LOOKS_BETWEEN, Holders
from fleet_trading.store.limits import SharedLimits


async def test_orders_go_on_while_many_accounts_are_looked_at() -> None:
    cache = AccountCache(20 * AT_ONCE)
    for number in range(20 * AT_ONCE):
        account = an_account()
        account.account_id = UUID(int=number)
        cache.put_back(account)
    nothing: Any = None
    looking = asyncio.create_task(RiskWatch(nothing, cache, SharedLimits(), nothing, nothing).look(nothing))
    turns = 0
    while not looking.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns >= 20


async def test_who_may_lose_is_brought_into_memory_in_pages_and_nobody_else(make_database: MakeDatabase) -> None:
    """250 who hold something → a limit of ten of them → of all → one is thrown away, and is back a minute later"""
    cache, limits = AccountCache(10_000), SharedLimits()
    async with Database(await make_database("trading"), application_name="test") as database:
        holders = Holders(database, cache, limits)
        async with database.connection() as connection:
            await connection.execute(
                """INSERT INTO accounts SELECT (id::text)::uuid, gen_random_uuid(), 'Paper', 'paper', 'USD', true, now(),
                    'active', 1, 0, 0, NULL, NULL, 0 FROM (SELECT '00000000-0000-4000-8000-' || lpad(n::text, 12, '0') AS id
                                            FROM generate_series(1, 260) AS n) AS ids"""
            )
            await connection.execute(
                """INSERT INTO positions SELECT account_id, 'AAPL/USD', 10 - 10 * (rank() OVER (ORDER BY account_id) > 250)::int,
                   1000, 0 FROM accounts"""
            )
            await holders.bring()
            assert cache.accounts() == [], "nobody has a limit on losses"
            await connection.execute(
                """INSERT INTO risk_limits (scope, target, set_as, name, value, changed_at)
                   SELECT 'account', account_id::text, 'owner', 'drawdown', 0.1, now() FROM accounts
                   ORDER BY account_id OFFSET 240"""
            )
            for _ in range(LOOKS_BETWEEN):
                await holders.bring()
            assert len(cache.accounts()) == 10, "of 20 with a limit ten hold nothing"
            await connection.execute(
                """INSERT INTO risk_limits (scope, target, set_as, name, value, changed_at)
                   VALUES ('system', '', 'admin', 'daily_loss', 1, now())"""
            )
            await connection.execute("UPDATE risk_version SET version = version + 1")
            await holders.bring()
            assert len(cache.accounts()) == 250
            lost = cache.accounts()[7].account_id
            assert cache.take(lost, 1) is not None
            for _ in range(LOOKS_BETWEEN):
                await holders.bring()
            assert cache.knows(lost)
        full = AccountCache(120)
        await Holders(database, full, limits).bring()
        assert len(full.accounts()) == 120


async def a_holder(fleet: Any) -> UUID:
    """Has 900 AAPL, bought at 100, and 10,000 USD."""
    user: UUID = fleet.a_user()
    order = await fleet.accepted(user, quantity="900")
    await fleet.report(user, fleet.filled(order, 900, "100"))
    await fleet.becomes(order, user, "filled")
    return user


async def put(fleet: Any, user: UUID, scope: str, roles: tuple[str, ...], **limits: Any) -> None:
    reply = await fleet.call("PUT", "/api/v1/risk/limits", {"scope": scope, "limits": limits}, user=user, roles=roles)
    assert reply.status == 200, reply.body


async def falls_to(fleet: Any, price: str) -> None:
    await fleet.publish(DATA_QUOTES, "AAPL/USD", fleet.a_quote("AAPL/USD", price))


async def breach_of(fleet: Any, user: UUID) -> AccountBreached:
    (told,) = await eventually(lambda: fleet.of(AccountBreached, user), timeout_s=10, what="the breach is told")
    assert (told.level_percent, told.wanted_state) == (100, TradingStateWord.REDUCING)
    breach: AccountBreached = told
    return breach


async def test_an_idle_account_is_watched_from_the_moment_a_limit_of_the_system_or_a_role_is_set(
    run_trading: Any,
) -> None:
    """bought → nothing is done any more → a shared limit, which throws away all that is in memory → the price falls"""
    async with run_trading() as fleet:
        first, admin = await a_holder(fleet), uuid4()
        await put(fleet, admin, "system", ("admin",), daily_loss="4500")
        await falls_to(fleet, "95")
        breach = await breach_of(fleet, first)
        assert breach.limit == "daily_loss"
        assert breach.used == 4500


async def test_a_process_that_has_just_started_watches_who_holds_something(
    run_trading: Any, make_database: MakeDatabase
) -> None:
    """bought, a limit on the drawdown → another process, in whose memory nobody is → the price falls"""
    database = await make_database("trading")
    async with run_trading(database=database) as fleet:
        user = await a_holder(fleet)
        await put(fleet, user, "account", ("trader",), drawdown="0.09")
    async with run_trading(database=database) as fleet:
        await falls_to(fleet, "90.0001")
        await eventually(lambda: fleet.of(AccountBreached, user), timeout_s=10, what="80 % are told")
        await falls_to(fleet, "90")
        near, full = await eventually(lambda: two_of(fleet.of(AccountBreached, user)), what="the drawdown is told")
        assert (near.limit, near.level_percent, near.wanted_state) == ("drawdown", 80, None)
        assert (full.limit, full.level_percent, full.wanted_state) == ("drawdown", 100, TradingStateWord.REDUCING)
        assert str(full.used) == "0.09"


def two_of(told: list[Any]) -> list[Any]:
    return told if len(told) == 2 else []


async def test_what_comes_or_goes_is_no_loss_and_makes_none_smaller(run_trading: Any) -> None:
    """4.5 % are lost → 100,000 come from another account → most of it goes back → as large a part is lost as before"""

    async def has_lost(part: str) -> bool:
        (limit,) = (await fleet.call("GET", "/api/v1/risk", user=user)).body["limits"]
        return bool(limit["used"] == part)

    async def move(source: str, target: str, amount: str) -> None:
        body = {"from_account_id": source, "to_account_id": target, "currency": "USD", "amount": amount}
        reply = await fleet.call("POST", "/api/v1/transfers", body, user=user, scopes=["transfer"])
        assert reply.status == 201, reply.body

    async with run_trading() as fleet:
        user = await a_holder(fleet)
        await put(fleet, user, "account", ("trader",), drawdown="0.5")
        await falls_to(fleet, "95")
        await eventually(lambda: has_lost("0.045"), what="the price has fallen")
        second = (await fleet.call("POST", "/api/v1/accounts", {"name": "Second", "kind": "paper"}, user=user)).body
        listed = (await fleet.call("GET", "/api/v1/accounts", user=user)).body["data"]
        own = next(account["account_id"] for account in listed if account["is_default"])
        await move(second["account_id"], own, "100000")
        assert await has_lost("0.045")
        await move(own, second["account_id"], "105000")
        assert await has_lost("0.045")
