"""Facts that acceptance had not allowed for, and facts that are corrected: all are booked."""

from decimal import Decimal
from typing import Any

from fleet_contracts import execution
from fleet_testkit.eventually import eventually


async def test_a_fill_a_fifth_above_the_reservation_is_booked_and_the_account_reduces_only(fleet: Any) -> None:
    """acceptance reserves 1051.05 → the venue fills at 126.126 → booked, reduce-only, nothing is parked"""
    user = fleet.a_user()
    order = await fleet.accepted(user)
    await fleet.report(user, fleet.filled(order, 10, "126.126", fee="1"))
    await fleet.becomes(order, user, "filled")
    assert await fleet.balance(user) == (100_000 - Decimal("1261.26") - 1, 0)
    refused = await fleet.order(user)
    assert (refused.status, refused.code) == (422, "account_reduce_only")
    assert (await fleet.order(user, side="sell", quantity="10")).status == 201
    assert await fleet.parked() == 0
    await fleet.books_hold()


async def test_a_fill_and_its_correction_may_come_in_one_record(fleet: Any) -> None:
    user = fleet.a_user()
    order = await fleet.accepted(user)
    fill = fleet.filled(order, 10, "100", fee="1")
    fields = {name: getattr(fill, name) for name in fill.__struct_fields__} | {"last_price": Decimal(101)}
    corrections = [execution.TradeCorrected(**fields, revision=n, code="price", detail="") for n in (1, 2)]
    await fleet.report(user, fill, *corrections)
    assert (await fleet.becomes(order, user, "filled"))["average_fill_price"] == "101"

    async def shown() -> bool:
        (trade,) = (await fleet.call("GET", "/api/v1/trades", user=user)).body["data"]
        return bool(trade["price"] == "101")

    await eventually(shown)
    assert await fleet.balance(user) == (100_000 - 1011, 0)
    await fleet.books_hold()
