"""Signals of strategies: orders on their owner's account, within the rights he has now."""

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from fleet_contracts.auth import User
from fleet_contracts.core_engine import CancelRequested, OrderRequested
from fleet_contracts.execution import OrderCanceled
from fleet_contracts.topics import AUTH_USERS, CORE_ENGINE_ORDER_REQUESTS
from fleet_contracts.trading import AccountChanged, CancelOrder, SubmitOrder
from fleet_contracts.vocabulary import OrderClass, OrderType, Side, TimeInForce
from fleet_testkit.eventually import eventually


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
        return [order for order in await fleet.orders(user) if order["status"] == "denied"]

    (left,) = await eventually(denied)
    assert (left["signal_id"], left["reason"]["code"]) == (str(dear.signal_id), "insufficient_funds")
    shown = await fleet.orders(user, client_order_id=f"sig-{good.signal_id}")
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


async def test_a_signal_that_is_taken_back_takes_its_exits_along_once_its_order_has_ended(fleet: Any) -> None:
    user = await registered(fleet)
    key = str(fleet.account_of(user))
    bracket = a_signal(
        fleet, user, order_class=OrderClass.BRACKET, take_profit_price=Decimal(120), stop_loss_price=Decimal(80)
    )
    await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, key, bracket)
    (sent,) = await eventually(lambda: fleet.of(SubmitOrder, user))

    async def take_back() -> None:
        cancel = CancelRequested(
            signal_id=uuid4(),
            deployment_id=bracket.deployment_id,
            account_id=bracket.account_id,
            user_id=user,
            target_signal_id=bracket.signal_id,
        )
        await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, key, cancel)

    await fleet.report(user, fleet.filled({"order_id": str(sent.order_id)}, 20, 100))

    async def is_filled() -> bool:
        (shown,) = await fleet.orders(user, client_order_id=sent.client_order_id)
        return bool(shown["status"] == "filled")

    await eventually(is_filled)
    await take_back()
    await eventually(lambda: len(fleet.of(CancelOrder, user)) == 2)
    assert {each.order_id for each in fleet.of(CancelOrder, user)} == {leg.order_id for leg in sent.legs}
    ended = [
        OrderCanceled(
            order_id=leg.order_id,
            market_at=fleet.clock.now(),
            code="requested",
            detail="",
            cumulative_quantity=Decimal(0),
        )
        for leg in sent.legs
    ]
    await fleet.report(user, *ended)
    for leg in sent.legs:
        await fleet.becomes({"order_id": str(leg.order_id)}, user, "canceled")
    # All of it has ended and left the memory: taken back once more it is as it was, and the account goes on.
    await take_back()
    await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, key, a_signal(fleet, user))
    await eventually(lambda: len(fleet.of(SubmitOrder, user)) == 2)
    assert await fleet.parked() == 0
    await fleet.books_hold()


async def test_a_signal_whose_order_waits_is_taken_back_by_its_order_alone(fleet: Any) -> None:
    user = await registered(fleet)
    key = str(fleet.account_of(user))
    entry = a_signal(
        fleet,
        user,
        order_type=OrderType.STOP,
        stop_price=Decimal(110),
        order_class=OrderClass.OTO,
        stop_loss_price=Decimal(99),
    )
    cancel = CancelRequested(
        signal_id=uuid4(),
        deployment_id=entry.deployment_id,
        account_id=entry.account_id,
        user_id=user,
        target_signal_id=entry.signal_id,
    )
    await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, key, entry, cancel)
    (canceled,) = await eventually(lambda: fleet.of(CancelOrder, user))
    assert canceled.order_id == fleet.of(SubmitOrder, user)[0].order_id, "its exit ends with it at the venue"


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
    assert await fleet.orders(owner) == []
    assert len(fleet.of(AccountChanged, owner)) == told


async def test_a_strategy_has_the_rights_its_owner_has_now(fleet: Any) -> None:
    user = await registered(fleet, roles=("viewer",))
    signal = a_signal(fleet, user)
    await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, str(signal.account_id), signal)

    async def denied() -> bool:
        return [order["reason"]["code"] for order in await fleet.orders(user)] == ["insufficient_scope"]

    await eventually(denied)


async def test_a_signal_has_every_condition(fleet: Any) -> None:
    user = await registered(fleet)
    key = str(fleet.account_of(user))
    bracket = a_signal(
        fleet,
        user,
        order_class=OrderClass.BRACKET,
        take_profit_price=Decimal(120),
        stop_loss_price=Decimal(80),
        stop_loss_limit_price=Decimal(79),
    )
    trailing = a_signal(fleet, user, order_type=OrderType.TRAILING_STOP, trail_amount=Decimal(2))
    wrong = a_signal(fleet, user, order_type=OrderType.STOP)
    await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, key, bracket, trailing, wrong)
    await eventually(lambda: len(fleet.of(SubmitOrder, user)) == 2)
    sent = fleet.of(SubmitOrder, user)
    assert [leg.order_type for leg in sent[0].legs] == [OrderType.LIMIT, OrderType.STOP_LIMIT]
    assert sent[1].trail_amount == 2

    async def denied() -> list[dict[str, Any]]:
        return [order for order in await fleet.orders(user) if order["status"] == "denied"]

    (left,) = await eventually(denied)
    assert (left["reason"]["code"], left["reason"]["detail"]) == (
        "invalid_price",
        "stop_price is required of a stop order.",
    )
    await fleet.books_hold()
