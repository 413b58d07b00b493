"""An account that may only reduce: what is let through of a buy, and who lets it go on."""

from datetime import timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID, uuid4

import pytest
from account_commands import NOW, a_fill, an_account, an_order, conditions, denial, done
from fleet_contracts import trading
from fleet_contracts.audit import AdminActed, Change
from fleet_simulator import Side
from fleet_testkit.eventually import eventually
from fleet_trading.domain import Account, AccountStatus, Release, ReplaceDenied, ReplaceOrder, TradingState
from fleet_trading.domain.restriction import owed
from fleet_trading.domain.risk.limits import Limit


def a_short_account() -> Account:
    """10 AAPL short: what was sold on had not been bought, as its venue says afterwards."""
    account = an_account()
    done(account, an_order())
    done(account, a_fill(10, 100, 10, 100))
    done(account, an_order(11, Side.SELL))
    done(account, a_fill(11, 101, 10, 110))
    done(account, a_fill(10, 100, 0, 100, revision=1, now=NOW + timedelta(minutes=1)))
    assert account.status is AccountStatus.REDUCE_ONLY
    assert account.balance("AAPL").total == -10
    return account


def a_replace(order: int, **changed: Any) -> ReplaceOrder:
    fields: dict[str, Any] = {"quantity": None, "limit_price": None, "stop_price": None, "expected_version": None}
    return ReplaceOrder(order_id=UUID(int=order), conditions=conditions(), **(fields | changed))


@pytest.mark.parametrize(("quantity", "code"), [(1, None), (10, None), (11, "account_reduce_only")])
def test_a_buy_may_cover_what_is_owed_and_no_more(quantity: int, code: str | None) -> None:
    assert denial(a_short_account(), an_order(12, quantity=quantity)) == code


def test_open_buys_cover_too() -> None:
    account = a_short_account()
    done(account, an_order(12, quantity=6, limit=90))
    assert denial(account, an_order(13, quantity=5)) == "account_reduce_only"
    assert denial(account, an_order(13, quantity=4)) is None
    (refused,) = done(account, a_replace(12, quantity=D(11)))
    assert isinstance(refused, ReplaceDenied)
    assert refused.reason.code == "account_reduce_only"
    (asked,) = done(account, a_replace(12, quantity=D(10), limit_price=D(95)))
    assert not isinstance(asked, ReplaceDenied)


def test_what_is_open_from_before_is_not_made_dearer() -> None:
    account = an_account()
    done(account, an_order(9, quantity=30, limit=90))
    done(account, an_order())
    done(account, a_fill(10, 100, 10, 100))
    done(account, an_order(11, Side.SELL))
    done(account, a_fill(11, 101, 10, 110))
    done(account, a_fill(10, 100, 0, 100, revision=1))
    (refused,) = done(account, a_replace(9, limit_price=D(95)))
    assert isinstance(refused, ReplaceDenied)
    assert denial(account, an_order(12, quantity=1)) == "account_reduce_only"


def test_what_covers_is_held_back_by_no_limit_on_what_grows_but_by_a_halt() -> None:
    account = a_short_account()
    limits = {Limit.DAILY_LOSS: D(0), Limit.GROSS_EXPOSURE: D(0), Limit.CONCENTRATION: D(0)}
    assert denial(account, an_order(12, conditions=conditions(limits=limits))) is None
    halted = conditions(state=TradingState.HALTED)
    assert denial(account, an_order(12, conditions=halted)) == "market_halted"


def test_an_account_is_released_once_it_owes_nothing() -> None:
    account = a_short_account()
    why = account.restriction
    assert why is not None
    assert (why.code, why.at) == ("balance_below_zero", NOW + timedelta(minutes=1))
    assert owed(account) == ["AAPL"]
    done(account, an_order(12))
    done(account, a_fill(12, 102, 10, 100))
    assert owed(account) == []
    assert denial(account, an_order(13, quantity=1)) == "account_reduce_only"
    assert len(done(account, Release())) == 1
    assert account.restriction is None
    assert done(account, Release()) == []
    assert denial(account, an_order(13, quantity=1)) is None


def test_less_than_is_reserved_is_owed_too() -> None:
    account = an_account(1000)
    done(account, an_order(quantity=9, limit=100))
    account.balances["USD"].total = D(900)
    assert owed(account) == ["USD"]


async def released(fleet: Any, user: UUID, admin: UUID, *, roles: tuple[str, ...] = ("admin",), **more: Any) -> Any:
    path = f"/api/v1/accounts/{fleet.account_of(user)}/release"
    fresh = {"claims": {"mfa_at": int(fleet.clock.now().timestamp())}}
    return await fleet.call("POST", path, {"reason": "Looked into"}, user=admin, roles=roles, **(fresh | more))


async def account_shown(fleet: Any, user: UUID) -> dict[str, Any]:
    (account,) = (await fleet.call("GET", "/api/v1/accounts", user=user)).body["data"]
    found: dict[str, Any] = account
    return found


async def test_an_admin_releases_an_account(fleet: Any) -> None:
    """overfill → reduce only, with reason and time → sold below zero → 409 → covered → released, told and kept"""
    user, admin = fleet.a_user(), fleet.a_user()
    order = await fleet.accepted(user)
    assert (await account_shown(fleet, user))["reason"] is None
    trade = uuid4()
    await fleet.report(user, fleet.filled(order, 10, "100", trade=trade))
    await fleet.becomes(order, user, "filled")
    sold = await fleet.accepted(user, side="sell")
    await fleet.report(user, fleet.filled(sold, 12, "100"))
    await fleet.becomes(sold, user, "filled")
    shown = await account_shown(fleet, user)
    assert (shown["status"], shown["reason"]["code"]) == ("reduce_only", "overfill")
    assert shown["restricted_at"] == fleet.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")

    assert (await released(fleet, user, admin, roles=("trader",))).code == "insufficient_scope"
    assert (await released(fleet, user, admin, claims={})).code == "mfa_required"
    owes = await released(fleet, user, admin)
    assert (owes.status, owes.code) == (409, "account_owes")
    assert "AAPL" in owes.body["detail"]

    fleet.cache.clear()  # As after a start, when no open order is in memory.
    assert (await fleet.order(user, quantity="3")).code == "account_reduce_only"
    cover = await fleet.accepted(user, quantity="2")
    assert (await fleet.order(user, quantity="1")).code == "account_reduce_only"
    preview = await fleet.call("POST", "/api/v1/orders/preview", _market_buy("1"), user=user)
    assert [reason["code"] for reason in preview.body["reasons"]] == ["account_reduce_only"]
    await fleet.report(user, fleet.filled(cover, 2, "100"))
    await fleet.becomes(cover, user, "filled")

    done_ = await released(fleet, user, admin)
    assert (done_.status, done_.body["status"], done_.body["reason"]) == (200, "active", None), done_.body
    again = await released(fleet, user, admin)
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")
    await fleet.accepted(user, quantity="1")
    assert (await account_shown(fleet, user))["restricted_at"] is None
    said = await eventually(lambda: three_of(fleet.of(trading.Account, user)), what="everybody hears that it is active")
    assert [(one.status, one.reason and one.reason.code) for one in said] == [
        ("active", None),
        ("reduce_only", "overfill"),
        ("active", None),
    ]
    (act,) = await eventually(lambda: acts_of(fleet, admin), what="the audit log hears of it")
    assert (act.action, act.target, act.reason) == (
        "account.released",
        f"account:{fleet.account_of(user)}",
        "Looked into",
    )
    assert act.changes == (Change(name="status", before="reduce_only", after="active"),)
    await fleet.books_hold()


async def test_no_account_is_released_that_is_not_there(fleet: Any) -> None:
    assert (await released(fleet, fleet.a_user(), fleet.a_user())).code == "account_not_found"


def three_of(said: list[Any]) -> list[Any]:
    return said if len(said) == 3 else []


def acts_of(fleet: Any, admin: UUID) -> list[AdminActed]:
    acts = [one.message for one in fleet.heard if isinstance(one.message, AdminActed)]
    return [act for act in acts if act.actor == str(admin)]


def _market_buy(quantity: str) -> dict[str, str]:
    return {"symbol": "AAPL/USD", "side": "buy", "type": "market", "quantity": quantity}
