"""core-engine over the real Kafka and PostgreSQL: bars in, bars out; signals in, order requests or reasons out."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import msgspec
import pytest
from core_engine_messages import account_of, bar, deployment_of, grant_of, signal_of, step
from fleet_contracts import Message, Topic, data, trading
from fleet_contracts import core_engine as said
from fleet_contracts.audit import AdminActed
from fleet_contracts.exchange_connector import MarketStepEnded
from fleet_contracts.topics import (
    CORE_ENGINE_ALERTS,
    CORE_ENGINE_AUDIT,
    CORE_ENGINE_MARKET,
    CORE_ENGINE_ORDER_REQUESTS,
    CORE_ENGINE_SIGNAL_OUTCOMES,
    CORE_ENGINE_STATE,
    DATA_BARS,
    DATA_INSTRUMENTS,
    DATA_QUOTES,
    STRATEGY_SIGNALS,
    TOPICS,
    TRADING_RISK_BREACHES,
)
from fleet_contracts.vocabulary import (
    OrderClass,
    OrderType,
    Timeframe,
    TimeInForce,
    TradingStateWord,
)
from fleet_core_engine.app import create_app
from fleet_core_engine.settings import Settings
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import KafkaForTests, MakeDatabase
from fleet_testkit.http import served
from fleet_testkit.peers import BUS_MIGRATIONS, Keys, Peers, peers, ready

CALLED = ("core-engine", "gateway", "trading", "execution", "exchange-connector", "matching-engine")
ADMIN, OTHER_ADMIN = UUID(int=7), UUID(int=8)
MOST_SIGNALS = 5
DAY = datetime(2012, 5, 18, 20, 0, tzinfo=UTC)


def second_factor() -> dict[str, object]:
    """Of a caller who has just shown one."""
    return {"mfa_at": int(time.time())}


@dataclass
class CoreEngine:
    url: str
    keys: Keys
    others: Peers
    settings: Settings

    def admin(self, user_id: UUID = ADMIN) -> dict[str, str]:
        return self.keys.of_user(
            "core-engine", user_id, "read", "trade", "admin", roles=["admin"], more=second_factor()
        )

    def trader(self) -> dict[str, str]:
        return self.keys.of_user("core-engine", uuid4(), "read", "trade")

    def list_instances(self, instances: dict[str, str]) -> None:
        """`{"trading-0": url, ...}` is the fleet from now on."""
        listed = []
        for name, url in instances.items():
            service, _, ordinal = name.rpartition("-")
            listed.append({"name": service, "ordinal": int(ordinal), "url": url})
        (self.keys.state.path / "instances.json").write_text(json.dumps({"instances": listed}))


@pytest.fixture(scope="module")
async def core_engine(
    make_database: MakeDatabase, kafka: KafkaForTests, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CoreEngine]:
    keys = Keys.make(tmp_path_factory.mktemp("core-engine"), *CALLED)
    prefix = kafka.unique("core-engine") + "."
    reads = [topic for topic in TOPICS if any(reader.service == "core-engine" for reader in topic.readers)]
    writes = [
        CORE_ENGINE_ALERTS,
        CORE_ENGINE_AUDIT,
        CORE_ENGINE_MARKET,
        CORE_ENGINE_ORDER_REQUESTS,
        CORE_ENGINE_SIGNAL_OUTCOMES,
        CORE_ENGINE_STATE,
    ]
    async with peers(await make_database([BUS_MIGRATIONS]), kafka.url, prefix, topics=reads, hears=writes) as others:
        url = await make_database("core-engine")
        more = {"core_engine_signals_a_minute": MOST_SIGNALS, "core_engine_heartbeat_s": 0.2}
        settings = Settings.model_validate(keys.settings("core-engine", url, kafka.url, topic_prefix=prefix, **more))
        async with served(create_app(settings)) as base_url:
            await ready(base_url)
            yield CoreEngine(base_url, keys, others, settings)


def unique(*names: str) -> list[str]:
    return [f"{name}{uuid4().hex[:6].upper()}/USD" for name in names]


async def test_bars_are_released_and_a_step_after_the_last_of_them(core_engine: CoreEngine) -> None:
    aapl, msft = unique("AAPL", "MSFT")
    others = core_engine.others
    await others.say(step(1, DAY, aapl, msft))
    await others.say(bar(aapl, DAY), market_at=DAY)
    await eventually(lambda: others.heard_of(data.BarClosed, aapl))
    assert [ended for ended in others.heard_of(MarketStepEnded) if aapl in ended.symbols] == []
    await others.say(bar(msft, DAY), market_at=DAY)
    [ended] = await eventually(lambda: [one for one in others.heard_of(MarketStepEnded) if aapl in one.symbols])
    assert (ended.step, ended.market_at, ended.symbols) == (1, DAY, (aapl, msft))
    heard = next(one for one in others.heard if one.key == aapl)
    assert heard.market_at == DAY


async def test_a_bar_again_and_an_older_bar_are_withheld(core_engine: CoreEngine) -> None:
    [symbol] = unique("IBM")
    others = core_engine.others
    await others.say(bar(symbol, DAY), bar(symbol, DAY), bar(symbol, DAY - timedelta(minutes=5)))
    await eventually(lambda: len(others.heard_of(said.BarWithheld, symbol)) == 2)
    assert [one.reason for one in others.heard_of(said.BarWithheld, symbol)] == ["duplicate_close", "out_of_order"]
    assert len(others.heard_of(data.BarClosed, symbol)) == 1


async def test_a_halted_symbol_keeps_its_bars_but_its_steps_end(core_engine: CoreEngine) -> None:
    [symbol] = unique("GOOG")
    others = core_engine.others
    await define(core_engine, symbol)
    assert await kill_switch(core_engine, scope="symbol", target=symbol, action="halt") == 200
    await others.say(bar(symbol, DAY), step(2, DAY, symbol))
    [withheld] = await eventually(lambda: others.heard_of(said.BarWithheld, symbol))
    assert withheld.reason == "halted"
    await eventually(lambda: [one for one in others.heard_of(MarketStepEnded) if symbol in one.symbols])
    assert await kill_switch(core_engine, scope="symbol", target=symbol, action="resume") == 403
    assert await kill_switch(core_engine, OTHER_ADMIN, scope="symbol", target=symbol, action="resume") == 200
    await others.say(bar(symbol, DAY + timedelta(minutes=1)))
    await eventually(lambda: others.heard_of(data.BarClosed, symbol))
    halted, resumed = others.heard_of(said.TradingStateChanged, f"symbol:{symbol}")
    assert (halted.state, resumed.state) == (TradingStateWord.HALTED, TradingStateWord.ACTIVE)
    await eventually(lambda: len(others.heard_of(AdminActed, f"symbol:{symbol}")) == 2)
    acts = others.heard_of(AdminActed, f"symbol:{symbol}")
    assert [(act.actor, act.action, act.changes[0].before, act.changes[0].after, act.reason) for act in acts] == [
        (str(ADMIN), "trading_state.changed", None, "halted", "a test"),
        (str(OTHER_ADMIN), "trading_state.changed", "halted", "active", "a test"),
    ]
    assert (halted.epoch, halted.version) < (resumed.epoch, resumed.version)


async def test_history_is_passed_on_as_it_is(core_engine: CoreEngine) -> None:
    [symbol] = unique("FB")
    bars = tuple(bar(symbol, DAY + timedelta(minutes=n))[2].bar for n in range(3))  # type: ignore[attr-defined]
    history = data.BarsBackfilled(symbol=symbol, venue="paper", timeframe=Timeframe.M1, bars=bars)
    await core_engine.others.say((DATA_BARS, symbol, history))
    assert await eventually(lambda: core_engine.others.heard_of(data.BarsBackfilled, symbol)) == [history]


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
    await define(core_engine, symbol)
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
    await define(core_engine, symbol)
    await others.say(account_of(signal), deployment_of(signal), grant_of(signal, max_order_notional=Decimal(100)))
    await others.say((STRATEGY_SIGNALS, str(signal.account_id), signal))
    [dropped] = await eventually(lambda: others.heard_of(said.SignalDropped, str(signal.deployment_id)))
    assert dropped.reason == "max_order_notional"
    assert others.heard_of(said.OrderRequested, str(signal.account_id)) == []


async def test_an_account_that_has_breached_a_limit_is_restricted_and_only_an_admin_releases_it(
    core_engine: CoreEngine,
) -> None:
    others, account = core_engine.others, account_of(signal_of("AAPL/USD"))
    owner = account[2].user_id  # type: ignore[attr-defined]
    key = f"account:{account[1]}"
    await others.say(
        account, breach_of(account[1], owner, None), breach_of(account[1], owner, TradingStateWord.REDUCING)
    )
    [reducing] = await eventually(lambda: others.heard_of(said.TradingStateChanged, key))
    assert (reducing.state, reducing.by) == (TradingStateWord.REDUCING, "risk")
    assert reducing.reason == "daily_loss: 1000.5 of 1000"
    # What is stricter stays, however often risk asks for less.
    headers = core_engine.keys.of_user("core-engine", owner, "trade", more=second_factor())
    url, body = f"{core_engine.url}/api/v1/risk/kill-switch", {"scope": "account", "reason": "a test"}
    async with aiohttp.ClientSession(headers=headers) as client:
        halted = await client.post(url, json=body | {"action": "halt"})
        assert (halted.status, (await halted.json())["target"]) == (200, account[1])
        await others.say(breach_of(account[1], owner, TradingStateWord.REDUCING))
        resumed = await client.post(url, json=body | {"action": "resume"})
        assert (resumed.status, (await resumed.json())["state"]) == (200, "reducing")
        again = await client.post(url, json=body | {"action": "resume"})
        assert (again.status, (await again.json())["code"]) == (403, "held_by_another")
        of_others = await client.post(url, json=body | {"action": "halt", "target": str(uuid4())})
        assert (of_others.status, (await of_others.json())["code"]) == (404, "account_not_found")
    assert await kill_switch(core_engine, scope="account", target=account[1], action="resume") == 200

    def states() -> list[str]:
        return [one.state.value for one in others.heard_of(said.TradingStateChanged, key)]

    await eventually(lambda: states()[:3] == ["reducing", "halted", "reducing"])


async def test_the_heartbeat_is_heard_again_and_again(core_engine: CoreEngine) -> None:
    await eventually(lambda: len(core_engine.others.heard_of(said.Heartbeat, "heartbeat")) >= 2)


def breach_of(account_id: str, user_id: UUID, wanted: TradingStateWord | None) -> tuple[Topic, str, Message]:
    breach = trading.AccountBreached(
        account_id=UUID(account_id),
        user_id=user_id,
        limit="daily_loss",
        symbol=None,
        level_percent=100,
        allowed=Decimal(1000),
        used=Decimal("1000.5"),
        wanted_state=wanted,
        version=1,
    )
    return TRADING_RISK_BREACHES, account_id, breach


async def test_a_symbol_whose_quotes_stop_gets_no_bars_and_no_orders(core_engine: CoreEngine) -> None:
    [symbol] = unique("AAPL")
    others, signal = core_engine.others, signal_of(symbol)
    await define(core_engine, symbol, stale_in=timedelta(seconds=-1))
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
    await define(core_engine, symbol)
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
    await define(core_engine, symbol, calendar=calendar)
    await others.say(account_of(signal), deployment_of(signal), grant_of(signal))
    await others.say((STRATEGY_SIGNALS, str(signal.account_id), signal))
    [dropped] = await eventually(lambda: others.heard_of(said.SignalDropped, str(signal.deployment_id)))
    assert dropped.reason == "market_closed"
    shown = {one["calendar"]: one for one in (await status_of(core_engine))["calendars"]}
    assert "no calendar of this name" in shown[calendar]["error"]
    assert shown["24/7"]["is_open"] is True


async def test_the_status_tells_states_prices_and_instances(core_engine: CoreEngine) -> None:
    [symbol] = unique("MSFT")
    await define(core_engine, symbol)
    core_engine.list_instances({"core-engine-0": core_engine.url, "trading-0": "http://127.0.0.1:9"})

    async def status() -> dict[str, Any]:
        told = await status_of(core_engine)
        return told if told["services"] and any(one["symbol"] == symbol for one in told["data"]) else {}

    told = await eventually(status)
    assert told["feed"] == "simulated"
    assert told["is_ready"] is False
    instances = {one["service"]: one for one in told["services"]}
    assert instances["core-engine"]["is_ready"] is True
    assert instances["core-engine"]["parked"] == 0
    assert instances["trading"]["is_ready"] is False
    lag = {(one["service"], one["group"]): (one["records"], one["seconds"]) for one in told["lag"]}
    assert lag["trading", None] == (None, None), "nobody tells"
    assert {"core-engine.bars", "core-engine.signals", "core-engine.breaches"} == {
        group for service, group in lag if service == "core-engine"
    }


async def test_quotes_that_stop_and_come_back_are_told_once_each_whoever_looks(core_engine: CoreEngine) -> None:
    [symbol] = unique("AAPL")
    others = core_engine.others

    def told() -> list[tuple[int, str | None, bool]]:
        alerts = others.heard_of(said.Alert, f"quotes:{symbol}")
        return [(one.version, one.symbol, one.ended_at is not None) for one in alerts]

    async def stopped_at() -> Any:
        return next(one["stopped_at"] for one in (await status_of(core_engine))["data"] if one["symbol"] == symbol)

    async def beats(more: int) -> None:
        heard = len(others.heard_of(said.Heartbeat))
        await eventually(lambda: len(others.heard_of(said.Heartbeat)) >= heard + more)

    await define(core_engine, symbol, stale_in=timedelta(milliseconds=300))
    await eventually(lambda: told() == [(1, symbol, False)])
    assert await stopped_at() is not None
    # A static member of its groups, whose partitions wait for it for a while after: this test is the last one.
    another = core_engine.settings.model_copy(update={"ordinal": 1})
    async with served(create_app(another)) as url:
        await ready(url)
        await beats(5)
        assert told() == [(1, symbol, False)]
        await define(core_engine, symbol, stale_in=timedelta(minutes=5))
        await eventually(lambda: told() == [(1, symbol, False), (2, symbol, True)])
        await beats(5)
    assert await stopped_at() is None
    began, ended = others.heard_of(said.Alert, f"quotes:{symbol}")
    assert (began.alert_id, began.at) == (ended.alert_id, ended.at)


async def define(
    core_engine: CoreEngine, symbol: str, *, calendar: str = "24/7", stale_in: timedelta = timedelta(seconds=10)
) -> None:
    instrument = data.InstrumentDefined(
        symbol=symbol,
        name=symbol,
        asset_class="stock",
        base=symbol.split("/")[0],
        quote="USD",
        tick_size=Decimal("0.0001"),
        lot_size=Decimal(1),
        min_quantity=Decimal(1),
        min_notional=Decimal(0),
        maker_fee=Decimal("0.001"),
        taker_fee=Decimal("0.001"),
        calendar=calendar,
        venues=("paper",),
        reference_venue="paper",
        simulated=True,
        version=1,
    )
    now = datetime.now(UTC)
    quote = data.BestQuote(
        symbol=symbol,
        venue="paper",
        bid=Decimal(99),
        bid_size=Decimal(10),
        ask=Decimal(100),
        ask_size=Decimal(10),
        last=Decimal(100),
        market_at=now,
        stale_after=now + stale_in,
    )
    await core_engine.others.say((DATA_INSTRUMENTS, symbol, instrument), (DATA_QUOTES, symbol, quote))


async def status_of(core_engine: CoreEngine) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as client,
        client.get(f"{core_engine.url}/api/v1/system/status", headers=core_engine.trader()) as response,
    ):
        assert response.status == 200
        told: dict[str, Any] = await response.json()
        return told


async def kill_switch(core_engine: CoreEngine, by: UUID = ADMIN, **body: str) -> int:
    """The status with which it is answered; a symbol not known yet is asked for again."""

    async def answered() -> int:
        async with aiohttp.ClientSession() as client:
            response = await client.post(
                f"{core_engine.url}/api/v1/risk/kill-switch",
                json={"reason": "a test", **body},
                headers=core_engine.admin(by),
            )
            return 0 if response.status == 422 else response.status

    return await eventually(answered)
