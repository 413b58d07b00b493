"""Several accounts of one user: opened, filled by transfers, reset; and entries that are no trades."""

import asyncio
from decimal import Decimal as D
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from fleet_contracts import execution
from fleet_contracts.topics import EXECUTION_REPORTS, TRADING_AUDIT
from fleet_contracts.trading import CancelOrder
from fleet_testkit.eventually import eventually

ACCOUNTS = "/api/v1/accounts"


async def opened(fleet: Any, user: UUID, name: str = "Second", **more: Any) -> Any:
    return await fleet.call("POST", ACCOUNTS, {"name": name, "kind": "paper"}, user=user, **more)


async def cash(fleet: Any, user: UUID, account_id: Any) -> D:
    reply = await fleet.call("GET", f"{ACCOUNTS}/{account_id}/balances", user=user)
    return next((D(b["total"]) for b in reply.body["data"] if b["currency"] == "USD"), D(0))


async def moved(fleet: Any, user: UUID, source: Any, target: Any, amount: str, **more: Any) -> Any:
    body = {"from_account_id": str(source), "to_account_id": str(target), "currency": "USD", "amount": amount}
    return await fleet.call("POST", "/api/v1/transfers", body, user=user, **more)


async def test_another_account_is_opened_once_a_key_and_trades_by_itself(fleet: Any) -> None:
    user = fleet.a_user()
    key: dict[str, Any] = {"headers": {"Idempotency-Key": "one"}}
    replies = await asyncio.gather(*(opened(fleet, user, **key) for _ in range(3)))
    assert {reply.status for reply in replies} == {201}
    assert sorted(reply.headers.get("Idempotent-Replayed", "") for reply in replies) == ["", "true", "true"]
    second = replies[0].body
    assert all(reply.body == second for reply in replies)
    assert (second["name"], second["is_default"], second["status"]) == ("Second", False, "active")
    assert (await opened(fleet, user, "Other", **key)).code == "idempotency_key_reused"
    assert (await fleet.call("POST", ACCOUNTS, {"name": "x", "kind": "live"}, user=user)).code == "unsupported"
    assert (await opened(fleet, user, "")).code == "invalid_request"

    listed = (await fleet.call("GET", ACCOUNTS, user=user)).body["data"]
    assert [account["name"] for account in listed] == ["Paper", "Second"]
    order = await fleet.accepted(user, account_id=second["account_id"])
    assert order["account_id"] == second["account_id"]
    assert await fleet.balance(user) == (100_000, 0)
    stranger = fleet.a_user()
    assert (await fleet.order(stranger, account_id=second["account_id"])).code == "account_not_found"
    assert (await fleet.call("POST", f"{ACCOUNTS}/{second['account_id']}/reset", user=stranger)).status == 404


async def test_a_user_has_so_many_accounts(run_trading: Any) -> None:
    async with run_trading(trading_most_accounts=2) as fleet:
        user = fleet.a_user()
        statuses = sorted([(await opened(fleet, user)).status for _ in range(3)])
        assert statuses == [201, 422, 422]


async def test_a_transfer_is_both_sides_or_none(fleet: Any) -> None:
    user = fleet.a_user()
    first = fleet.account_of(user)
    second = (await opened(fleet, user)).body["account_id"]
    key = {"headers": {"Idempotency-Key": "t"}, "scopes": ["transfer"]}
    replies = await asyncio.gather(*(moved(fleet, user, first, second, "250.5", **key) for _ in range(3)))
    assert {reply.status for reply in replies} == {201}, replies
    assert len({reply.body["transfer_id"] for reply in replies}) == 1
    assert sum(reply.headers.get("Idempotent-Replayed") == "true" for reply in replies) == 2
    assert (await moved(fleet, user, first, second, "1", **key)).code == "idempotency_key_reused"
    assert (await moved(fleet, user, second, first, "250.5", **key)).code == "idempotency_key_reused"
    assert await cash(fleet, user, first) == D("99749.5")
    assert await cash(fleet, user, second) == D("100250.5")
    ledger = (await fleet.call("GET", f"{ACCOUNTS}/{second}/ledger", user=user)).body["data"]
    assert (ledger[0]["kind"], ledger[0]["amount"]) == ("transfer", "250.5")
    assert ledger[0]["reference"] == f"transfer from {first}"
    # Money that moves is no profit.
    for account in (first, second):
        portfolio = (await fleet.call("GET", f"/api/v1/portfolio?account_id={account}", user=user)).body
        assert portfolio["day_pnl"] == "0"

    transfer = {"scopes": ["transfer"]}
    assert (await moved(fleet, user, first, second, "1")).code == "insufficient_scope"
    assert (await moved(fleet, user, first, second, "99749.51", **transfer)).code == "insufficient_funds"
    await fleet.accepted(user, quantity="900")  # What is reserved stays.
    assert (await moved(fleet, user, first, second, "99000", **transfer)).code == "insufficient_funds"
    assert (await moved(fleet, user, first, first, "1", **transfer)).code == "invalid_request"
    assert (await moved(fleet, user, first, second, "-1", **transfer)).code == "invalid_request"
    stranger = fleet.a_user()
    assert (await moved(fleet, stranger, first, second, "1", **transfer)).code == "account_not_found"
    await fleet.books_hold()


async def test_transfers_that_cross_neither_wait_for_each_other_nor_lose_a_cent(fleet: Any) -> None:
    user = fleet.a_user()
    accounts = [fleet.account_of(user), *[(await opened(fleet, user)).body["account_id"] for _ in range(2)]]
    pairs = [(accounts[n % 3], accounts[(n + 1 + n % 2) % 3]) for n in range(24)]
    replies = await asyncio.gather(
        *(moved(fleet, user, source, target, "10", scopes=["transfer"]) for source, target in pairs)
    )
    assert {reply.status for reply in replies} == {201}
    assert sum([await cash(fleet, user, account) for account in accounts]) == 300_000
    await fleet.books_hold()


async def test_a_reset_cancels_then_begins_anew_and_deletes_nothing(fleet: Any) -> None:
    """reset → cancels → the venue confirms → entries take everything out, the opening deposit comes in"""
    user = fleet.a_user()
    account = fleet.account_of(user)
    bought = await fleet.accepted(user)
    fill = fleet.filled(bought, 10, "101", fee="1")
    await fleet.report(user, fill)
    await fleet.becomes(bought, user, "filled")
    resting = await fleet.accepted(user, type="limit", limit_price="50", quantity="3")
    key = {"headers": {"Idempotency-Key": "again"}}
    begun = await fleet.call("POST", f"{ACCOUNTS}/{account}/reset", user=user, **key)
    assert (begun.status, begun.body["status"]) == (202, "resetting")
    assert (await fleet.order(user, side="sell")).code == "account_resetting"
    await eventually(lambda: fleet.of(CancelOrder, user), what="the resting order is cancelled")
    assert await fleet.balance(user) == (100_000 - 1011, D("150.15"))

    canceled = execution.OrderCanceled(
        order_id=UUID(resting["order_id"]),
        market_at=fleet.clock.now(),
        code="requested",
        detail="",
        cumulative_quantity=D(0),
    )
    await fleet.report(user, canceled)
    await fleet.becomes(resting, user, "canceled")
    fleet.clock.advance(seconds=1.5)

    async def is_new() -> bool:
        (shown,) = (await fleet.call("GET", ACCOUNTS, user=user)).body["data"]
        return bool(shown["status"] == "active")

    await eventually(is_new)
    assert await fleet.balance(user) == (100_000, 0)
    assert await fleet.balance(user, "AAPL") == (0, 0)
    portfolio = (await fleet.call("GET", "/api/v1/portfolio", user=user)).body
    assert (portfolio["equity"], portfolio["day_pnl"], portfolio["realized_pnl"]) == ("100000", "0", "0")
    ledger = (await fleet.call("GET", f"{ACCOUNTS}/{account}/ledger", user=user)).body["data"]
    assert [(e["kind"], e["currency"], e["amount"]) for e in ledger[:3]] == [
        ("reset", "USD", "100000"),
        ("reset", "USD", "-98989"),
        ("reset", "AAPL", "-10"),
    ]
    assert len((await fleet.call("GET", "/api/v1/trades", user=user)).body["data"]) == 1
    # The same request again is answered, not done; and what is corrected of before is wiped out already.
    again = await fleet.call("POST", f"{ACCOUNTS}/{account}/reset", user=user, **key)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (202, "true")
    fields = {name: getattr(fill, name) for name in fill.__struct_fields__} | {"last_quantity": D(0)}
    bust = execution.TradeCorrected(**fields, revision=1, code="bust", detail="")
    # A fill that comes late is a fact of the new beginning.
    late = fleet.filled(resting, 1, "50")
    message = execution.OrderReports(account_id=account, user_id=user, reports=(bust, late))
    await fleet.publish(EXECUTION_REPORTS, str(account), message)

    async def is_booked() -> bool:
        return bool(await fleet.balance(user, "AAPL") == (1, 0))

    await eventually(is_booked)
    assert await fleet.balance(user) == (99_950, 0)
    assert (await fleet.order(user)).code == "account_reduce_only"
    await fleet.books_hold()


def an_entry(kind: str, amount: str) -> dict[str, str]:
    named = {"transaction_id": str(uuid4()), "source": "AAPL 2026-01-05", "by": "ada"}
    return named | {"kind": kind, "currency": "USD", "amount": amount}


@pytest.mark.parametrize(
    ("kind", "amount"),
    [
        ("dividend", "12.5"),
        ("fee", "-3"),
        ("funding", "-0.75"),
        ("correction", "-4"),
        ("correction", "7.25"),
        ("deposit", "250"),
        ("withdrawal", "-250"),
    ],
)
async def test_an_entry_with_a_source_is_booked_once(fleet: Any, kind: str, amount: str) -> None:
    user = fleet.a_user()
    await fleet.call("GET", ACCOUNTS, user=user)
    entry = an_entry(kind, amount)
    path = f"/internal/accounts/{fleet.account_of(user)}/entries"
    assert (await fleet.call("POST", path, entry, user=user)).status == 403  # The gateway's word is not enough.
    replies = [await fleet.call("POST", path, entry, user=user, issuer="cli") for _ in range(2)]
    assert [(r.status, r.body["is_replay"]) for r in replies] == [(201, False), (201, True)]
    assert await fleet.balance(user) == (100_000 + D(amount), 0)
    other = await fleet.call("POST", path, entry | {"amount": amount + "1"}, user=user, issuer="cli")
    assert other.code == "idempotency_key_reused"
    ledger = (await fleet.call("GET", f"{ACCOUNTS}/{fleet.account_of(user)}/ledger", user=user)).body["data"]
    assert (ledger[0]["kind"], ledger[0]["amount"], ledger[0]["reference"]) == (kind, amount, "AAPL 2026-01-05")
    target = f"account:{fleet.account_of(user)}"
    [act] = await eventually(
        lambda: [r.message for r in fleet.heard if r.topic == TRADING_AUDIT.name and r.key == target]
    )
    assert (act.actor, act.action, act.reason) == ("cli:ada", f"{kind}.booked", "AAPL 2026-01-05")
    assert (act.changes[0].name, act.changes[0].after) == ("USD", amount)
    # What is paid in or out is no profit.
    earned = "0" if kind in ("deposit", "withdrawal") else amount
    assert (await fleet.call("GET", "/api/v1/portfolio", user=user)).body["day_pnl"] == earned
    await fleet.books_hold()


@pytest.mark.parametrize(("kind", "amount"), [("deposit", "-1"), ("withdrawal", "1"), ("fee", "0")])
async def test_money_goes_the_way_that_its_kind_says(fleet: Any, kind: str, amount: str) -> None:
    user = fleet.a_user()
    await fleet.call("GET", ACCOUNTS, user=user)
    entry = an_entry(kind, amount)
    path = f"/internal/accounts/{fleet.account_of(user)}/entries"
    assert (await fleet.call("POST", path, entry, user=user, issuer="cli")).code == "invalid_request"
    assert await fleet.balance(user) == (100_000, 0)


async def test_a_withdrawal_may_be_refused_a_fee_never(fleet: Any) -> None:
    user = fleet.a_user()
    await fleet.call("GET", ACCOUNTS, user=user)
    path = f"/internal/accounts/{fleet.account_of(user)}/entries"
    entry = {
        "transaction_id": str(uuid4()),
        "kind": "withdrawal",
        "currency": "USD",
        "amount": "-100001",
        "source": "w",
        "by": "ada",
    }
    assert (await fleet.call("POST", path, entry, user=user, issuer="cli")).code == "insufficient_funds"
    assert (await fleet.call("POST", path, entry | {"kind": "fee"}, user=user, issuer="cli")).status == 201
    assert await fleet.balance(user) == (-1, 0)
    assert (await fleet.order(user)).code == "account_reduce_only"
    connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
    source = await connection.fetchval(
        "SELECT source FROM adjustments WHERE transaction_id = $1", UUID(entry["transaction_id"])
    )
    await connection.close()
    assert source == "w"
    await fleet.books_hold()
