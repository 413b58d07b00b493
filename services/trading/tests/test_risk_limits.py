"""Limits as they are set, kept and obeyed: by every replica with the next order; and breaches as they are told."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
from fleet_contracts import auth, execution
from fleet_contracts.audit import AdminActed, Change
from fleet_contracts.core_engine import OrderRequested
from fleet_contracts.topics import AUTH_USERS, CORE_ENGINE_ORDER_REQUESTS, DATA_INSTRUMENTS, DATA_QUOTES
from fleet_contracts.trading import AccountBreached
from fleet_contracts.vocabulary import OrderType, Side, TimeInForce, TradingStateWord
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from fleet_trading.app import create_app
from fleet_trading.domain.risk.limits import Limit
from fleet_trading.store.cache import AccountCache
from fleet_trading.store.limits import MOST_KEPT, SharedLimits

LIMITS = "/api/v1/risk/limits"
RESTING: dict[str, Any] = {"type": "limit", "limit_price": "50", "quantity": "1"}


async def put(fleet: Any, user: UUID, scope: str, target: object = None, *, admin: bool = False, **limits: Any) -> Any:
    body = {"scope": scope, "limits": limits} | ({} if target is None else {"target": str(target)})
    return await fleet.call("PUT", LIMITS, body, user=user, roles=("admin",) if admin else ("trader",))


async def shown(fleet: Any, user: UUID, path: str = LIMITS, **more: Any) -> dict[tuple[str, str], str | None]:
    rows = (await fleet.call("GET", path, user=user, **more)).body["data"]
    return {(row["scope"], row["name"]): row["limit"] for row in reversed(rows)}


class Answers:
    """A connection whose answer, of the limits at one version, comes once it is let go."""

    def __init__(self, version: int) -> None:
        self.version = version
        self.is_asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def fetch(self, _statement: str) -> list[dict[str, Any]]:
        self.is_asked.set()
        await self.may_answer.wait()
        most = Decimal(self.version)
        return [{"version": self.version, "scope": "system", "target": "", "name": "max_order_quantity", "value": most}]


async def test_what_was_read_of_the_limits_before_they_changed_does_not_undo_what_was_read_after() -> None:
    """one asks -> they change -> another asks and is answered -> then the first is: what holds is of the second"""
    limits, cache, first, second = SharedLimits(), AccountCache(10), Answers(1), Answers(2)
    asking = asyncio.create_task(limits.know(1, cast("asyncpg.Connection", first), cache))
    await first.is_asked.wait()
    second.may_answer.set()
    await limits.know(2, cast("asyncpg.Connection", second), cache)
    first.may_answer.set()
    await asking
    assert (limits.table.version, limits.table.of((), ())) == (2, {Limit.MAX_ORDER_QUANTITY: Decimal(2)})


async def test_an_owner_tightens_his_own_account(fleet: Any) -> None:
    user, other = fleet.a_user(), fleet.a_user()
    reply = await put(fleet, user, "account", max_order_quantity="5")
    assert reply.status == 200, reply.body
    (row,) = reply.body["data"]
    assert (row["name"], row["limit"], row["set_as"], row["set_by"]) == ("max_order_quantity", "5", "owner", str(user))
    denied = await fleet.order(user, quantity="6")
    assert (denied.status, denied.code) == (422, "max_order_quantity")
    assert (await fleet.orders(user))[0]["reason"]["code"] == "max_order_quantity"
    await fleet.accepted(user, quantity="5")
    await fleet.accepted(other, quantity="6")
    assert (await put(fleet, other, "account", fleet.account_of(user), max_order_quantity="6")).status == 404
    assert (await put(fleet, user, "account", max_order_quantity=None)).body["data"] == []
    await fleet.accepted(user, quantity="6")
    assert await shown(fleet, user, f"{LIMITS}/history") == {
        ("system", "price_collar"): "1",
        ("account", "max_order_quantity"): None,
    }


async def test_an_owner_never_loosens_what_an_admin_has_set(fleet: Any) -> None:
    user, admin = fleet.a_user(), fleet.a_user()
    await fleet.accepted(user)
    account = fleet.account_of(user)
    assert (await put(fleet, admin, "account", account, admin=True, max_order_quantity="5")).status == 200
    assert (await put(fleet, admin, "account", uuid4(), admin=True, max_order_quantity="5")).status == 404
    loosened = await put(fleet, user, "account", max_order_quantity="7")
    assert (loosened.status, loosened.code) == (403, "limit_loosened")
    assert (await put(fleet, user, "account", max_order_quantity="4")).status == 200
    assert (await fleet.order(user, quantity="5")).code == "max_order_quantity"
    assert (await put(fleet, user, "account", max_order_quantity=None)).status == 200
    await fleet.accepted(user, quantity="5")
    assert (await put(fleet, admin, "account", account, admin=True, max_order_quantity=None)).status == 200
    acts = await eventually(lambda: _acts_of(fleet, admin), what="the audit log hears of what the admin did, no more")
    assert [(one.target, one.action, one.changes) for one in acts] == [
        (f"account:{account}", "limits.set", (Change(name="max_order_quantity", before=before, after=after),))
        for before, after in ((None, "5"), ("5", None))
    ]
    assert (await put(fleet, admin, "account", account, admin=True, max_order_quantity="5")).status == 200
    assert (await fleet.order(user, quantity="6")).code == "max_order_quantity"


async def test_of_an_owners_changes_the_last_of_each_limit_are_kept_and_an_admins_for_ever(fleet: Any) -> None:
    """What is read with the account, and in one table with all limits, is not made long by who changes his own all day."""
    user = fleet.a_user()
    await fleet.accepted(user)
    connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
    own = "FROM risk_limits WHERE target = $1", str(fleet.account_of(user))
    try:
        await connection.execute(
            """INSERT INTO risk_limits (scope, target, set_as, name, value, changed_at)
               SELECT 'account', $1, set_as, name, value, now() FROM generate_series(1, $2) AS value,
               (VALUES ('owner', 'order_rate'), ('owner', 'open_orders'), ('admin', 'order_rate')) AS l (set_as, name)""",
            own[1],
            MOST_KEPT + 50,
        )
        assert (await put(fleet, user, "account", order_rate="50", open_orders="49")).status == 200
        assert (await put(fleet, user, "account", order_rate="48")).status == 200
        kept = await connection.fetch(f"SELECT set_as, name, count(*) {own[0]} GROUP BY set_as, name", own[1])
        assert {tuple(row.values()) for row in kept} == {
            ("owner", "order_rate", MOST_KEPT),
            ("owner", "open_orders", MOST_KEPT),
            ("admin", "order_rate", MOST_KEPT + 50),
        }
        assert await connection.fetchval(f"SELECT value {own[0]} ORDER BY change_no DESC LIMIT 1", own[1]) == 48
        with pytest.raises(asyncpg.RaiseError, match="append only"):
            await connection.execute(f"DELETE {own[0]} AND set_as = 'admin'", own[1])
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("scope", "target", "limits", "status", "code"),
    [
        ("system", None, {"order_rate": "1"}, 403, "insufficient_scope"),
        ("role", "trader", {"order_rate": "1"}, 403, "insufficient_scope"),
        ("symbol", "AAPL/USD", {"order_rate": "1"}, 403, "insufficient_scope"),
        ("strategy", uuid4(), {"order_rate": "1"}, 403, "insufficient_scope"),
        ("api_key", uuid4(), {"order_rate": "1"}, 403, "insufficient_scope"),
        ("account", None, {"var_95": "1"}, 422, "invalid_request"),
        ("account", None, {"order_rate": "-1"}, 422, "invalid_request"),
        ("account", None, {"order_rate": 1.5}, 422, "invalid_request"),
        ("account", None, {"self_match": "1"}, 422, "invalid_request"),
        ("account", None, {}, 422, "invalid_request"),
        ("account", "mine", {"order_rate": "1"}, 422, "invalid_request"),
    ],
)
async def test_what_may_not_be_set(
    fleet: Any, scope: str, target: object, limits: dict[str, Any], status: int, code: str
) -> None:
    reply = await put(fleet, fleet.a_user(), scope, target, **limits)
    assert (reply.status, reply.code) == (status, code), reply.body


@pytest.mark.parametrize(
    ("scope", "target"),
    [("system", "all"), ("role", None), ("role", "king"), ("symbol", "nothing"), ("strategy", "s"), ("api_key", "k")],
)
async def test_an_admin_names_what_a_limit_is_for(fleet: Any, scope: str, target: object) -> None:
    assert (await put(fleet, fleet.a_user(), scope, target, admin=True, order_rate="1")).code == "invalid_request"


async def test_a_users_role_has_limits_as_soon_as_he_has_the_role(fleet: Any) -> None:
    user, admin = fleet.a_user(), fleet.a_user()
    await fleet.accepted(user)
    assert (await put(fleet, admin, "role", "compliance", admin=True, max_order_quantity="0")).status == 200
    await fleet.accepted(user)
    message = auth.User(user_id=user, roles=("compliance", "trader"), status="active", version=1)
    await fleet.publish(AUTH_USERS, str(user), message)

    async def is_denied() -> bool:
        return bool((await fleet.order(user)).code == "max_order_quantity")

    await eventually(is_denied, what="the role's limit holds")
    newcomer = fleet.a_user()
    message = auth.User(user_id=newcomer, roles=("compliance", "trader"), status="active", version=1)
    await fleet.publish(AUTH_USERS, str(newcomer), message)

    async def is_opened() -> bool:
        return bool((await fleet.balance(newcomer))[0])

    await eventually(is_opened, what="the account is opened")
    assert (await fleet.order(newcomer)).code == "max_order_quantity", "the account has just been opened"
    seen = await shown(fleet, user, roles=("compliance", "trader"))
    assert seen["role", "max_order_quantity"] == "0"
    assert ("role", "max_order_quantity") not in await shown(fleet, user)


async def test_a_loss_is_told_to_core_engine_and_held_against_new_orders(fleet: Any) -> None:
    user = fleet.a_user()
    await fleet.publish(DATA_QUOTES, "LOSS/USD", fleet.a_quote("LOSS/USD", "100"))
    await fleet.publish(DATA_INSTRUMENTS, "LOSS/USD", fleet.an_instrument("LOSS/USD"))

    async def is_known() -> bool:
        return bool((await fleet.order(user, symbol="LOSS/USD", quantity="1")).status == 201)

    await eventually(is_known, what="the symbol is traded")
    order = await fleet.accepted(user, symbol="LOSS/USD")
    await fleet.report(user, fleet.filled(order, 10, "100"))
    await fleet.becomes(order, user, "filled")
    assert (await put(fleet, user, "account", daily_loss="100", drawdown="0.5")).status == 200
    await fleet.publish(DATA_QUOTES, "LOSS/USD", fleet.a_quote("LOSS/USD", "90"))
    await eventually(lambda: fleet.of(AccountBreached, user), what="the breach is told without an order")

    async def is_lost() -> bool:
        return bool((await fleet.order(user, quantity="1")).code == "daily_loss")

    await eventually(is_lost, what="the loss is held against it")
    selling = await fleet.order(user, symbol="LOSS/USD", side="sell", quantity="10")
    assert selling.status == 201, selling.body
    (breach,) = fleet.of(AccountBreached, user)
    assert (breach.limit, breach.used, breach.wanted_state) == ("daily_loss", 100, TradingStateWord.REDUCING)
    seen = (await fleet.call("GET", "/api/v1/risk", user=user)).body
    assert (seen["gross_exposure"], seen["net_exposure"]) == ("900", "900")
    assert Decimal(seen["leverage"]) == Decimal(seen["concentration"]) == Decimal("0.009009009009")
    assert {row["name"]: row["used"] for row in seen["limits"]}["daily_loss"] == "100"


async def test_a_strategy_is_held_to_its_limits(fleet: Any) -> None:
    user, admin, strategy = fleet.a_user(), fleet.a_user(), uuid4()
    await fleet.accepted(user)
    assert (await put(fleet, admin, "strategy", strategy, admin=True, order_rate="1")).status == 200
    for _ in range(2):
        request = OrderRequested(
            signal_id=uuid4(),
            deployment_id=uuid4(),
            account_id=fleet.account_of(user),
            user_id=user,
            strategy_id=strategy,
            symbol="AAPL/USD",
            side=Side.BUY,
            order_type=OrderType.MARKET,
            quantity=Decimal(1),
            limit_price=None,
            time_in_force=TimeInForce.GTC,
        )
        await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, str(request.account_id), request)

    async def is_denied() -> bool:
        codes = [order["reason"]["code"] for order in await fleet.orders(user, status="closed") if order["reason"]]
        return codes == ["order_rate"]

    await eventually(is_denied, what="the second signal is denied")
    await fleet.accepted(user)


# Last, as the partitions of a replica that has gone are nobody's for a while.
async def test_every_replica_obeys_with_its_next_order(fleet: Any) -> None:
    user, admin = fleet.a_user(), fleet.a_user()
    settings = fleet.settings.model_copy(update={"ordinal": 1})
    async with served(create_app(settings, clock=fleet.clock)) as url:
        second = replace(fleet, url=url)

        async def is_ready() -> bool:
            async with fleet.http.get(url + "/health/ready") as response:
                return bool(response.status == 200)

        await eventually(is_ready, timeout_s=30, what="the second replica is ready")
        await eventually(lambda: accepts(second, user), timeout_s=30, what="it knows the market")
        await fleet.accepted(user, symbol="MSFT/USD")
        assert (await put(fleet, admin, "symbol", "MSFT-USD", admin=True, restricted_symbol="0")).status == 200
        for replica in (fleet, second, fleet):
            assert (await replica.order(user, symbol="MSFT/USD")).code == "restricted_symbol"
        assert (await put(second, admin, "symbol", "MSFT/USD", admin=True, restricted_symbol=None)).status == 200
        for replica in (fleet, second, fleet):
            await replica.accepted(user, symbol="MSFT/USD")
        # An account's own limits are as new as the account.
        assert (await put(fleet, user, "account", max_order_quantity="1")).status == 200
        for replica in (second, fleet, second):
            assert (await replica.order(user, quantity="2")).code == "max_order_quantity"
        await breaches_are_told_once_by_both(fleet, second)


async def accepts(fleet: Any, user: UUID) -> bool:
    return bool((await fleet.order(user, symbol="MSFT/USD")).status == 201)


async def breaches_are_told_once_by_both(first: Any, second: Any) -> None:
    user = first.a_user()
    assert (await put(first, user, "account", open_orders="5")).status == 200
    placed = [await replica.accepted(user, **RESTING) for replica in (first, second, first, second, first)]
    denied = await second.order(user, **RESTING)
    assert (denied.status, denied.code) == (422, "open_orders")
    await eventually(lambda: len(first.of(AccountBreached, user)) >= 2, what="the breaches are told")
    near, full = first.of(AccountBreached, user)
    assert (near.limit, near.level_percent, full.limit, full.level_percent) == ("open_orders", 80, "open_orders", 100)
    assert (full.allowed, full.used, full.wanted_state, full.symbol) == (5, 5, None, None)
    seen = (await second.call("GET", "/api/v1/risk", user=user)).body
    assert seen["limits"] == [{"name": "open_orders", "symbol": None, "limit": "5", "used": "5"}]
    assert len(placed) == 5


def _acts_of(fleet: Any, admin: UUID) -> list[AdminActed]:
    found = [
        one.message for one in fleet.heard if isinstance(one.message, AdminActed) and one.message.actor == str(admin)
    ]
    return found if len(found) == 2 else []


async def test_of_more_open_orders_than_are_kept_in_memory_none_is_forgotten(fleet: Any) -> None:
    """1,100 open → a limit on the position, by which those that are kept are too many → 200 end in one record → the 900
    that are left count, all of them"""
    user = fleet.a_user()
    body = {"orders": [{"symbol": "AAPL/USD", "side": "buy", **RESTING}] * 275}
    batches = [await fleet.call("POST", "/api/v1/orders/batch", body, user=user) for _ in range(4)]
    placed = [item["order"] for batch in batches for item in batch.body]
    assert (await put(fleet, user, "account", position_limit="850")).status == 200
    ended = [
        execution.OrderCanceled(
            order_id=UUID(order["order_id"]),
            market_at=fleet.clock.now(),
            code="requested",
            detail="",
            cumulative_quantity=Decimal(0),
        )
        for order in placed[:200]
    ]
    await fleet.report(user, *ended)
    await fleet.becomes(placed[199], user, "canceled")
    assert (await fleet.order(user, **RESTING)).code == "position_limit"
