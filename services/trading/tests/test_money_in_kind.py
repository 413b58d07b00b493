"""Shares and coins that come and go without a trade: the ledger, the position at average cost, and what the account is worth."""

from decimal import Decimal as D
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from fleet_command import command, fleet_of
from fleet_contracts.audit import AdminActed
from fleet_testkit.eventually import eventually

ACCOUNTS = "/api/v1/accounts"


async def booked(fleet: Any, user: UUID, kind: str, amount: str, **more: Any) -> Any:
    body = {
        "transaction_id": str(uuid4()),
        "kind": kind,
        "currency": "AAPL",
        "amount": amount,
        "source": "a broker",
        "by": "test",
    } | more
    path = f"/internal/accounts/{fleet.account_of(user)}/entries"
    return await fleet.call("POST", path, body, user=user, issuer="cli")


async def holder(fleet: Any) -> UUID:
    """10 AAPL bought at 100, the price of the market."""
    user: UUID = fleet.a_user()
    order = await fleet.accepted(user)
    await fleet.report(user, fleet.filled(order, 10, 100))
    await fleet.becomes(order, user, "filled")
    return user


async def position(fleet: Any, user: UUID) -> Any:
    """Of AAPL: quantity, average price, realised P&L, as Decimals."""
    (found,) = (await fleet.call("GET", "/api/v1/positions", user=user)).body["data"]
    return D(found["quantity"]), D(found["average_price"]), D(found["realized_pnl"])


async def portfolio(fleet: Any, user: UUID) -> dict[str, Any]:
    found: dict[str, Any] = (await fleet.call("GET", "/api/v1/portfolio", user=user)).body
    return found


async def test_what_comes_in_kind_is_held_at_its_cost_and_what_goes_leaves_at_the_average(fleet: Any) -> None:
    """10 at 100 → a deposit of 10 that cost 50, worth 100 → 5 withdrawn → a dividend of 3 for nothing → 6 sold at 100"""
    user = await holder(fleet)
    deposit = await booked(fleet, user, "deposit", "10", unit_cost="50")
    assert deposit.status == 201, deposit.body
    assert await position(fleet, user) == (20, 75, 0)
    now = await portfolio(fleet, user)
    assert (now["equity"], now["cash"], now["unrealized_pnl"]) == ("101000", "99000", "500")
    assert now["day_pnl"] == "0", "what is brought is not earned"
    assert (await booked(fleet, user, "withdrawal", "-5")).status == 201
    assert await position(fleet, user) == (15, 75, 0), "no profit and no loss"
    assert (await portfolio(fleet, user))["day_pnl"] == "0"
    assert (await booked(fleet, user, "dividend", "3", unit_cost="0")).status == 201
    assert await position(fleet, user) == (18, D("62.5"), 0)
    now = await portfolio(fleet, user)
    assert (now["equity"], now["day_pnl"]) == ("100800", "300"), "a dividend is earned"
    returned = (await fleet.call("GET", "/api/v1/portfolio/allocation", user=user)).body["time_weighted_return"]
    assert D(returned) == (D("100800") / D("100500") - 1).quantize(D(returned))
    order = await fleet.accepted(user, side="sell", quantity="6")
    await fleet.report(user, fleet.filled(order, 6, 100))
    await fleet.becomes(order, user, "filled")
    assert await position(fleet, user) == (12, D("62.5"), 225)
    assert await fleet.balance(user, "AAPL") == (12, 0)
    ledger = (await fleet.call("GET", f"{ACCOUNTS}/{fleet.account_of(user)}/ledger", user=user)).body["data"]
    in_kind = [(e["kind"], e["amount"], e["balance_after"]) for e in ledger if e["reference"] == "a broker"]
    assert in_kind == [("dividend", "3", "18"), ("withdrawal", "-5", "15"), ("deposit", "10", "20")]
    await fleet.books_hold()


@pytest.mark.parametrize(
    ("kind", "amount", "more", "code"),
    [
        ("deposit", "1", {}, "unsupported"),
        ("deposit", "1", {"unit_cost": "-1"}, "invalid_request"),
        ("deposit", "1", {"unit_cost": "1", "currency": "NOPE"}, "unsupported"),
        ("deposit", "1", {"unit_cost": "1", "currency": "USD"}, "unsupported"),
        ("dividend", "-1", {}, "unsupported"),
        ("fee", "-1", {}, "unsupported"),
        ("correction", "1", {"unit_cost": "1"}, "unsupported"),
        ("withdrawal", "-1", {"unit_cost": "1"}, "unsupported"),
        ("withdrawal", "-5", {}, "insufficient_funds"),  # of 10, 6 are reserved
    ],
)
async def test_what_is_not_booked_in_kind(fleet: Any, kind: str, amount: str, more: Any, code: str) -> None:
    user = await holder(fleet)
    await fleet.accepted(user, side="sell", type="limit", limit_price="200", quantity="6")
    reply = await booked(fleet, user, kind, amount, **more)
    assert (reply.status, reply.code) == (422, code), reply.body
    assert await position(fleet, user) == (10, 100, 0)
    assert await fleet.balance(user, "AAPL") == (10, 6)


async def test_it_is_booked_once_and_not_at_another_cost(fleet: Any) -> None:
    user = await holder(fleet)
    name = {"transaction_id": str(uuid4())}
    replies = [await booked(fleet, user, "deposit", "1", unit_cost=cost, **name) for cost in ("40", "40.0", "41")]
    assert [(reply.status, reply.code) for reply in replies[:2]] == [(201, None)] * 2
    assert [reply.body["is_replay"] for reply in replies[:2]] == [False, True]
    assert (replies[2].status, replies[2].code) == (409, "idempotency_key_reused")
    assert "a deposit of 1 AAPL at 40" in replies[2].body["detail"]
    assert (await position(fleet, user))[0] == 11


async def test_a_reset_takes_out_what_came_in_kind(fleet: Any) -> None:
    user = await holder(fleet)
    account = fleet.account_of(user)
    assert (await booked(fleet, user, "deposit", "4", unit_cost="100")).status == 201
    assert (await fleet.call("POST", f"{ACCOUNTS}/{account}/reset", user=user)).status == 202

    async def has_begun_anew() -> bool:
        fleet.clock.advance(seconds=1)
        return bool(await fleet.balance(user) == (100_000, 0) and await fleet.balance(user, "AAPL") == (0, 0))

    await eventually(has_begun_anew)
    assert (await booked(fleet, user, "deposit", "2", unit_cost="30")).status == 201
    assert await position(fleet, user) == (2, 30, 0)
    await fleet.books_hold()
    connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
    try:
        await connection.execute("UPDATE positions SET quantity = 3 WHERE account_id = $1", account)
        with pytest.raises(AssertionError, match="came and went in kind"):
            await fleet.books_hold()
        await connection.execute("UPDATE positions SET quantity = 2 WHERE account_id = $1", account)
    finally:
        await connection.close()


async def test_an_operator_books_shares(fleet: Any, tmp_path: Path) -> None:
    user = await holder(fleet)
    account = str(fleet.account_of(user))
    state = fleet_of(tmp_path, fleet.settings.private_key_file.parent, "trading", fleet.url)
    words = ("deposit", "2.5", "--currency", "AAPL", "--unit-cost", "96", "--reference", "from another broker")
    status, told, wrong = await command(state, "ledger", "book", account, *words)
    assert status == 0, wrong
    assert told.splitlines()[1].split()[1:4] == ["deposit", "2.5", "AAPL"]
    assert await position(fleet, user) == (D("12.5"), D("99.2"), 0)

    def act() -> list[tuple[str, str | None]]:
        told = [one.message for one in fleet.heard if isinstance(one.message, AdminActed)]
        return [
            (change.name, change.after) for one in told if one.target == f"account:{account}" for change in one.changes
        ]

    assert await eventually(act) == [("AAPL", "2.5"), ("unit_cost", "96")]
