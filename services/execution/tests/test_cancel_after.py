"""An account's deadline has come: what no venue sees ends here."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import uuid4

import msgspec
from cancel_after import set_deadline
from fleet_contracts import venue
from fleet_contracts.trading import SubmitOrder, Twap
from fleet_contracts.vocabulary import OrderType, TimeInForce
from fleet_testkit.eventually import eventually


async def test_what_waits_is_worked_or_held_here_ends_and_another_accounts_does_not(
    execution_service: Any, an_order: SubmitOrder, a_bracket: SubmitOrder
) -> None:
    """a stop waits here, a part of a TWAP and a bracket's profit are at the venue -> the deadline, while execution is down ->
    up: the stop has ended, the venue is asked for both others -> it confirms -> all has ended for that reason"""
    service = execution_service
    await service.can("gtd")
    await service.lists()
    a_stop = msgspec.structs.replace(
        an_order, order_type=OrderType.STOP, stop_price=D(101), time_in_force=TimeInForce.GTC
    )
    accounts = {name: uuid4() for name in ("stop", "twap", "bracket")}
    others = msgspec.structs.replace(a_stop, order_id=uuid4(), account_id=uuid4())
    stop = msgspec.structs.replace(a_stop, order_id=uuid4(), account_id=accounts["stop"])
    twap = msgspec.structs.replace(
        a_stop,
        order_id=uuid4(),
        account_id=accounts["twap"],
        order_type=OrderType.LIMIT,
        limit_price=D(99),
        stop_price=None,
        algo=Twap(duration_s=1_000, slices=2),
    )
    bracket = msgspec.structs.replace(a_bracket, account_id=accounts["bracket"])
    await service.command(stop, others, twap, bracket)
    (part,) = await service.some(lambda: service.sent(venue.PlaceVenueOrder, twap.account_id), 1)
    (entry,) = await service.placed_with_legs(bracket, 1)
    await service.report(service.filled(entry, 10, 10))
    _, profit = await service.placed_with_legs(bracket, 2)
    await service.names(stop, 1)
    await service.names(others, 1)
    at = service.clock.now() + timedelta(seconds=60)
    for account_id in accounts.values():
        await set_deadline(service, "execution", account_id, cancel_at=at)
    await service.running.aclose()
    service.clock.advance(seconds=60)
    await service.start()
    assert (await service.names(stop, 2))[1:] == [("order", "OrderCanceled", "cancel_after")]
    for place in (part, profit):
        (cancel,) = await service.some(lambda of=place: service.sent(venue.CancelVenueOrder, of.account_id), 1)
        assert cancel.venue_order_ref == place.venue_order_ref
        await service.report(service.canceled(place, "cancel_after"))
    assert (await service.names(twap, 2))[1:] == [("order", "OrderCanceled", "cancel_after")]
    ends = [told for told in await service.names(bracket, 7) if told[1] == "OrderCanceled"]
    assert sorted(ends) == [(name, "OrderCanceled", "cancel_after") for name in ("stop-loss", "take-profit")]
    assert len(service.told(others.account_id)) == 1


async def test_what_was_said_before_and_comes_after_is_refused(execution_service: Any, an_order: SubmitOrder) -> None:
    service = execution_service
    at = datetime.now(UTC)
    await set_deadline(service, "execution", an_order.account_id, passed_at=at)
    await service.placed(an_order)
    late = msgspec.structs.replace(an_order, order_id=uuid4(), account_id=uuid4())
    await set_deadline(service, "execution", late.account_id, passed_at=at + timedelta(minutes=1))
    await service.command(late)
    (told,) = await eventually(lambda: service.told(late.account_id))
    assert told.code == "cancel_after"
