"""core-engine over the real Kafka and PostgreSQL: bars in, bars out; states, and what it tells of the fleet."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import aiohttp
from core_engine_messages import account_of, bar, signal_of, step
from fleet_chassis.database import Database
from fleet_contracts import Message, Topic, data, trading
from fleet_contracts import core_engine as said
from fleet_contracts.audit import AdminActed
from fleet_contracts.exchange_connector import MarketStepEnded, VenueStatus
from fleet_contracts.topics import DATA_BARS, EXCHANGE_CONNECTOR_STATUS, TRADING_RISK_BREACHES
from fleet_contracts.vocabulary import AlertKind, Timeframe, TradingStateWord, VenueStateWord
from fleet_core_engine.app import create_app
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from fleet_testkit.peers import ready
from msgspec.structs import replace
from running_core_engine import ADMIN, OTHER_ADMIN, CoreEngine, second_factor, unique

DAY = datetime(2012, 5, 18, 20, 0, tzinfo=UTC)


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
    await core_engine.define(symbol)
    assert await core_engine.kill_switch(scope="symbol", target=symbol, action="halt") == 200
    await others.say(bar(symbol, DAY), step(2, DAY, symbol))
    [withheld] = await eventually(lambda: others.heard_of(said.BarWithheld, symbol))
    assert withheld.reason == "halted"
    await eventually(lambda: [one for one in others.heard_of(MarketStepEnded) if symbol in one.symbols])
    assert await core_engine.kill_switch(scope="symbol", target=symbol, action="resume") == 403
    assert await core_engine.kill_switch(OTHER_ADMIN, scope="symbol", target=symbol, action="resume") == 200
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


async def test_a_symbol_or_venue_that_there_is_not_is_not_halted(core_engine: CoreEngine) -> None:
    [symbol] = unique("AAPL")
    await core_engine.define(symbol)
    url = f"{core_engine.url}/api/v1/risk/kill-switch"

    async def is_known() -> bool:
        return any(one["symbol"] == symbol for one in (await core_engine.status())["data"])

    await eventually(is_known)
    async with aiohttp.ClientSession(headers=core_engine.admin()) as client:
        for scope, target in (("symbol", "APPL/USD"), ("venue", "papr")):
            body = {"scope": scope, "target": target, "action": "halt", "reason": "a typo"}

            async def code(body: dict[str, str] = body) -> str | None:
                response = await client.post(url, json=body)
                return (await response.json()).get("code") if response.status == 422 else None

            assert await eventually(code) == f"unknown_{scope}"


async def test_history_is_passed_on_as_it_is(core_engine: CoreEngine) -> None:
    [symbol] = unique("FB")
    bars = tuple(bar(symbol, DAY + timedelta(minutes=n))[2].bar for n in range(3))
    history = data.BarsBackfilled(symbol=symbol, venue="paper", timeframe=Timeframe.M1, bars=bars)
    await core_engine.others.say((DATA_BARS, symbol, history))
    assert await eventually(lambda: core_engine.others.heard_of(data.BarsBackfilled, symbol)) == [history]


async def test_an_account_that_has_breached_a_limit_is_restricted_and_only_an_admin_releases_it(
    core_engine: CoreEngine,
) -> None:
    others, account = core_engine.others, account_of(signal_of("AAPL/USD"))
    owner = account[2].user_id
    key = f"account:{account[1]}"
    await others.say(
        account, breach_of(account[1], owner, None), breach_of(account[1], owner, TradingStateWord.REDUCING)
    )
    [reducing] = await eventually(lambda: others.heard_of(said.TradingStateChanged, key))
    assert (reducing.state, reducing.by) == (TradingStateWord.REDUCING, "risk")
    assert reducing.reason == "daily_loss: 1000.5 of 1000"

    async def is_shown_to_its_owner() -> bool:  # whose account it is comes by another topic than the breach
        states = (await core_engine.status(core_engine.keys.of_user("core-engine", owner, "read")))["states"]
        return account[1] in {one["target"] for one in states}

    await eventually(is_shown_to_its_owner)
    # Whose account is restricted, and why, is nobody else's business.
    for headers, is_seen in (
        (core_engine.admin(), True),
        (core_engine.keys.of_user("core-engine", uuid4(), "read", "audit"), True),
        (core_engine.trader(), False),
    ):
        states = (await core_engine.status(headers))["states"]
        assert (account[1] in {one["target"] for one in states}) is is_seen
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
    assert await core_engine.kill_switch(scope="account", target=account[1], action="resume") == 200
    assert account[1] not in {one["target"] for one in (await core_engine.status(core_engine.admin()))["states"]}

    def told() -> list[str]:
        return [one.state.value for one in others.heard_of(said.TradingStateChanged, key)]

    await eventually(lambda: told()[:3] == ["reducing", "halted", "reducing"])


async def test_what_risk_wants_under_an_owners_own_halt_holds_when_he_takes_it_back(core_engine: CoreEngine) -> None:
    others, account = core_engine.others, account_of(signal_of("AAPL/USD"))
    owner = account[2].user_id
    await others.say(account)
    headers = core_engine.keys.of_user("core-engine", owner, "read", "trade", more=second_factor())
    url, body = f"{core_engine.url}/api/v1/risk/kill-switch", {"scope": "account", "reason": "a test"}
    async with aiohttp.ClientSession(headers=headers) as client:

        async def answer(action: str) -> tuple[int, dict[str, Any]]:
            response = await client.post(url, json=body | {"action": action})
            return response.status, await response.json()

        async def is_halted() -> bool:
            return (await answer("halt"))[0] == 200

        await eventually(is_halted)
        await others.say(breach_of(account[1], owner, TradingStateWord.REDUCING))
        async with Database(core_engine.settings.database_url, application_name="test") as database:
            await eventually(lambda: is_said_by_risk(database, account[1]))
        status, resumed = await answer("resume")
        assert (status, resumed["state"]) == (200, "reducing")
        status, refused = await answer("resume")
        assert (status, refused["code"]) == (403, "held_by_another")


async def test_each_breach_is_an_alert_for_the_owner_of_the_account(core_engine: CoreEngine) -> None:
    others, account_id, owner = core_engine.others, str(uuid4()), uuid4()
    near = breach_of(account_id, owner, None, level_percent=80, used=Decimal("812.5"))
    full = breach_of(account_id, owner, None, limit="position_limit", symbol="AAPL/USD")
    await others.say(near, full)

    def told() -> list[said.Alert]:
        return others.heard_of(said.Alert, f"account:{account_id}")

    first, second = await eventually(lambda: told()[1:] and told())
    assert (first.kind, first.account_id, first.user_id) == (AlertKind.LIMIT_BREACHED, UUID(account_id), owner)
    assert first.text == "daily_loss has come to 80 % of its limit: 812.5 of 1000."
    assert second.text == "position_limit of AAPL/USD has come to 100 % of its limit: 1000.5 of 1000."
    assert (first.symbol, second.symbol) == (None, "AAPL/USD")
    assert first.ended_at == first.at, "nothing tells when it is over"
    assert first.alert_id != second.alert_id


async def is_said_by_risk(database: Database, account_id: str) -> bool:
    async with database.connection() as connection:
        found = await connection.fetchval(
            "SELECT true FROM trading_state_changes WHERE target = $1 AND changed_by = 'risk'", account_id
        )
    return found is True


async def test_the_heartbeat_is_heard_again_and_again(core_engine: CoreEngine) -> None:
    await eventually(lambda: len(core_engine.others.heard_of(said.Heartbeat, "heartbeat")) >= 2)


def breach_of(
    account_id: str, user_id: UUID, wanted: TradingStateWord | None, **changed: Any
) -> tuple[Topic, str, Message]:
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
    return TRADING_RISK_BREACHES, account_id, replace(breach, **changed)


async def test_the_status_tells_states_prices_and_instances(core_engine: CoreEngine) -> None:
    [symbol] = unique("MSFT")
    await core_engine.define(symbol)
    core_engine.list_instances({"core-engine-0": core_engine.url, "trading-0": "http://127.0.0.1:9"})

    async def status() -> dict[str, Any]:
        told = await core_engine.status()
        has_answered = any(one["parked"] is not None for one in told["services"])
        return told if has_answered and any(one["symbol"] == symbol for one in told["data"]) else {}

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


async def test_a_venue_that_has_not_been_heard_for_half_a_minute_is_shown_as_silent(core_engine: CoreEngine) -> None:
    now = datetime.now(UTC)
    for venue, state, age_s in (
        ("paper", VenueStateWord.CONNECTED, 0),
        ("dead", VenueStateWord.CONNECTED, 31),
        ("gone", VenueStateWord.DISCONNECTED, 31),
    ):
        heartbeat_at = now - timedelta(seconds=age_s)
        told = VenueStatus(venue=venue, state=state, feed="simulated", heartbeat_at=heartbeat_at, capabilities=())
        await core_engine.others.say((EXCHANGE_CONNECTOR_STATUS, venue, told))

    async def states() -> dict[str, str]:
        shown = {one["venue"]: one["state"] for one in (await core_engine.status())["venues"]}
        return shown if len(shown) == 3 else {}

    assert await eventually(states) == {"paper": "connected", "dead": "silent", "gone": "disconnected"}


async def test_quotes_that_stop_and_come_back_are_told_once_each_whoever_looks(core_engine: CoreEngine) -> None:
    [symbol] = unique("AAPL")
    others = core_engine.others

    def told() -> list[tuple[int, str | None, bool]]:
        alerts = others.heard_of(said.Alert, f"quotes:{symbol}")
        return [(one.version, one.symbol, one.ended_at is not None) for one in alerts]

    async def stopped_at() -> Any:
        return next(one["stopped_at"] for one in (await core_engine.status())["data"] if one["symbol"] == symbol)

    async def beats(more: int) -> None:
        heard = len(others.heard_of(said.Heartbeat))
        await eventually(lambda: len(others.heard_of(said.Heartbeat)) >= heard + more)

    await core_engine.define(symbol, stale_in=timedelta(milliseconds=300))
    await eventually(lambda: told() == [(1, symbol, False)])
    assert await stopped_at() is not None
    # A static member of its groups, whose partitions wait for it for a while after: this test is the last one.
    another = core_engine.settings.model_copy(update={"ordinal": 1})
    async with served(create_app(another)) as url:
        await ready(url)
        await beats(5)
        assert told() == [(1, symbol, False)]
        await core_engine.define(symbol, stale_in=timedelta(minutes=5))
        await eventually(lambda: told() == [(1, symbol, False), (2, symbol, True)])
        await beats(5)
    assert await stopped_at() is None
    began, ended = others.heard_of(said.Alert, f"quotes:{symbol}")
    assert (began.alert_id, began.at) == (ended.alert_id, ended.at)
