"""core-engine over the real Kafka and PostgreSQL: signals in, order requests or reasons out."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import msgspec
from core_engine_messages import account_of, bar, deployment_of, grant_of, signal_of
from fleet_contracts import core_engine as said
from fleet_contracts.topics import CORE_ENGINE_ORDER_REQUESTS, STRATEGY_SIGNALS
from fleet_contracts.vocabulary import OrderClass, OrderType, TimeInForce
from fleet_testkit.eventually import eventually
from running_core_engine import MOST_SIGNALS, CoreEngine, unique

DAY = datetime(2012, 5, 18, 20, 0, tzinfo=UTC)


async def test_a_signal_waits_for_its_grant_and_becomes_an_order_request(core_engine: CoreEngine) -> None:
    [symbol] = unique("AAPL")
    others = core_engine.others
    signal = msgspec.structs.replace(
        signal_of(symbol),
        order_type=OrderType.STOP,
        stop_price=Decimal(110),
        time_in_force=TimeInForce.GTD,
        expires_at=DAY + timedelta(days=7),
        order_class=OrderClass.BRACKET,
        take_profit_price=Decimal(120),
        stop_loss_price=Decimal("99.5"),
    )
    await core_engine.define(symbol)
    await others.say(deployment_of(signal), account_of(signal))
    await others.say((STRATEGY_SIGNALS, str(signal.account_id), signal), market_at=DAY)
    await others.say(grant_of(signal))
    [request] = await eventually(lambda: others.heard_of(said.OrderRequested, str(signal.account_id)))
    for name in request.__struct_fields__:
        assert getattr(request, name) == getattr(signal, name), name
    [accepted] = await eventually(lambda: others.heard_of(said.SignalAccepted, str(signal.deployment_id)))
    assert accepted.signal_id == signal.signal_id
    received = next(one for one in others.heard if one.topic == CORE_ENGINE_ORDER_REQUESTS.name)
    assert received.market_at == DAY


async def test_a_signal_that_may_not_be_is_dropped_with_its_reason(core_engine: CoreEngine) -> None:
    [symbol] = unique("AAPL")
    others = core_engine.others
    signal = signal_of(symbol)
    await core_engine.define(symbol)
    await others.say(account_of(signal), deployment_of(signal), grant_of(signal, max_order_notional=Decimal(100)))
    await others.say((STRATEGY_SIGNALS, str(signal.account_id), signal))
    [dropped] = await eventually(lambda: others.heard_of(said.SignalDropped, str(signal.deployment_id)))
    assert dropped.reason == "max_order_notional"
    assert others.heard_of(said.OrderRequested, str(signal.account_id)) == []


async def test_a_symbol_whose_quotes_stop_gets_no_bars_and_no_orders(core_engine: CoreEngine) -> None:
    [symbol] = unique("AAPL")
    others, signal = core_engine.others, signal_of(symbol)
    await core_engine.define(symbol, stale_in=timedelta(seconds=-1))
    await others.say(account_of(signal), deployment_of(signal), grant_of(signal))
    await others.say((STRATEGY_SIGNALS, str(signal.account_id), signal))
    [dropped] = await eventually(lambda: others.heard_of(said.SignalDropped, str(signal.deployment_id)))
    assert dropped.reason == "stale_quote"
    await others.say(bar(symbol, DAY))
    [withheld] = await eventually(lambda: others.heard_of(said.BarWithheld, symbol))
    assert withheld.reason == "stale"


async def test_a_signal_raised_again_is_one_order_and_too_many_are_throttled(core_engine: CoreEngine) -> None:
    [symbol] = unique("AAPL")
    others, signal = core_engine.others, signal_of(symbol)
    await core_engine.define(symbol)
    await others.say(account_of(signal), deployment_of(signal), grant_of(signal))
    more = [msgspec.structs.replace(signal, signal_id=uuid4()) for _ in range(MOST_SIGNALS)]
    for one in (signal, signal, *more):
        await others.say((STRATEGY_SIGNALS, str(signal.account_id), one))
    [dropped] = await eventually(lambda: others.heard_of(said.SignalDropped, str(signal.deployment_id)))
    assert (dropped.reason, dropped.signal_id) == ("throttled", more[-1].signal_id)
    requested = [one.signal_id for one in others.heard_of(said.OrderRequested, str(signal.account_id))]
    assert requested == [one.signal_id for one in (signal, *more[:-1])]


async def test_a_calendar_that_nobody_knows_is_closed_and_the_status_says_so(core_engine: CoreEngine) -> None:
    [symbol], calendar = unique("AAPL"), "XXXX"
    others, signal = core_engine.others, signal_of(symbol)
    await core_engine.define(symbol, calendar=calendar)
    await others.say(account_of(signal), deployment_of(signal), grant_of(signal))
    await others.say((STRATEGY_SIGNALS, str(signal.account_id), signal))
    [dropped] = await eventually(lambda: others.heard_of(said.SignalDropped, str(signal.deployment_id)))
    assert dropped.reason == "market_closed"
    shown = {one["calendar"]: one for one in (await core_engine.status())["calendars"]}
    assert "no calendar of this name" in shown[calendar]["error"]
    assert shown["24/7"]["is_open"] is True
