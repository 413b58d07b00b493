"""What an account is worth, was worth and is made of, and the statement of a day."""

import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from fleet_contracts.exchange_connector import MarketStepEnded
from fleet_contracts.topics import CORE_ENGINE_ORDER_REQUESTS, DATA_QUOTES
from fleet_contracts.vocabulary import Timeframe
from fleet_testkit.eventually import eventually
from fleet_trading.domain import Growth
from hypothesis import given, settings
from hypothesis import strategies as st

DAY = datetime(2026, 1, 5, tzinfo=UTC)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(-50, 80), st.integers(-900, 5000)), min_size=1, max_size=12))
def test_the_time_weighted_return_is_that_of_one_unit_of_money(steps: list[tuple[int, int]]) -> None:
    """Each stretch earns so much per cent, then money comes or goes: one who put in one unit and left it has earned all
    stretches one after another, whatever came and went beside it."""
    equity, unit, growth = D(1000), D(1), Growth(D(1), D(1000))
    for per_cent, flow in steps:
        equity, unit = equity * (100 + per_cent) / 100, unit * (100 + per_cent) / 100
        assert abs(growth.at(equity) - unit) < D("1e-9") * max(unit, D(1))
        if equity + flow > 0:
            growth = Growth(growth.at(equity), equity + flow)
            equity += flow


async def quoted(fleet: Any, price: str, at: datetime, **more: Any) -> None:
    async with fleet.outside.transaction() as tx:
        tx.publish(DATA_QUOTES, "AAPL/USD", fleet.a_quote("AAPL/USD", price, market_at=at, **more), market_at=at)


async def is_marked(fleet: Any, user: UUID, price: str) -> bool:
    positions = (await fleet.call("GET", "/api/v1/positions", user=user)).body["data"]
    return bool(D(positions[0]["mark_price"]) == D(price))


@pytest.mark.long
async def test_the_curve_follows_the_market_and_not_what_comes_and_goes(run_trading: Any) -> None:
    async with run_trading() as fleet:
        user = fleet.a_user()
        order = await fleet.accepted(user, quantity="100")
        await fleet.report(user, fleet.filled(order, 100, "100"))
        await fleet.becomes(order, user, "filled")
        path = f"/internal/accounts/{fleet.account_of(user)}/entries"

        async def history(timeframe: str = "1h") -> list[Any]:
            reply = await fleet.call("GET", f"/api/v1/portfolio/history?timeframe={timeframe}", user=user)
            return [(p["at"][:13], p["equity"], p["time_weighted_return"]) for p in reply.body["data"]]

        async def moved(hour: int, price: str, expected: tuple[str, str]) -> None:
            at = DAY + timedelta(hours=hour)
            await quoted(fleet, price, at - timedelta(minutes=1))

            await eventually(partial(is_marked, fleet, user, price))
            fleet.clock.set(at)

            async def is_seen() -> bool:
                assert (await history())[:1] == [(at.isoformat()[:13], *expected)]
                return True

            await eventually(is_seen, what=f"the snapshot of {at}")

        await moved(16, "110", ("101000", "0.01"))
        entry = {
            "transaction_id": str(uuid4()),
            "kind": "deposit",
            "currency": "USD",
            "amount": "101000",
            "source": "x",
            "by": "ada",
        }
        assert (await fleet.call("POST", path, entry, user=user, issuer="cli")).status == 201
        await moved(17, "110", ("202000", "0.01"))
        await moved(18, "130.2", ("204020", "0.0201"))
        await moved(24 + 10, "120.1", ("203010", "0.01505"))
        # A process that comes to its first look late has seen the account, too: a point of the beginning.
        assert [point[0][-2:] for point in await history()][:4] == ["10", "18", "17", "16"]
        days = await history("1d")
        assert [(at[:10], equity) for at, equity, _ in days] == [("2026-01-06", "203010"), ("2026-01-05", "204020")]
        page = (await fleet.call("GET", "/api/v1/portfolio/history?timeframe=1h&limit=3", user=user)).body
        rest = f"/api/v1/portfolio/history?timeframe=1h&cursor={page['next_cursor']}"
        assert (await fleet.call("GET", rest, user=user)).body["data"][0]["equity"] == "101000"
        assert (await fleet.call("GET", "/api/v1/portfolio/history?timeframe=3m", user=user)).status == 422


async def test_a_day_counts_from_its_beginning_also_after_a_restart(run_trading: Any, make_database: Any) -> None:
    """holds 100 at 110 when the day begins → the price falls to 90 → trading starts anew and knows that price alone → the
    day's loss is 2,000, and a limit on it holds"""
    database, user, midnight = await make_database("trading"), uuid4(), DAY + timedelta(days=1)
    async with run_trading(database=database) as fleet:
        order = await fleet.accepted(user, quantity="100")
        await fleet.report(user, fleet.filled(order, 100, "100"))
        await fleet.becomes(order, user, "filled")
        await quoted(fleet, "110", midnight - timedelta(minutes=1))
        await eventually(partial(is_marked, fleet, user, "110"))
        fleet.clock.set(midnight)

        async def is_seen() -> bool:
            points = (await fleet.call("GET", "/api/v1/portfolio/history", user=user)).body["data"]
            return bool(points and points[0]["at"].startswith("2026-01-06"))

        await eventually(is_seen, what="the first snapshot of the day")
    async with run_trading(database=database) as fleet:
        fleet.clock.set(midnight + timedelta(hours=8))
        await quoted(fleet, "90", midnight + timedelta(hours=8))
        await eventually(partial(is_marked, fleet, user, "90"))
        assert (await fleet.call("GET", "/api/v1/portfolio", user=user)).body["day_pnl"] == "-2000"
        limits = {"scope": "account", "limits": {"daily_loss": "1500"}}
        assert (await fleet.call("PUT", "/api/v1/risk/limits", limits, user=user)).status == 200
        assert (await fleet.order(user, quantity="1")).code == "daily_loss"


async def test_the_curve_of_a_replay_has_each_step_however_fast_it_runs(run_trading: Any) -> None:
    """A step ends: every account's worth at its closes is kept before the next begins, whatever the wall clock says and
    whoever writes to the account beside it."""
    closes = ["100", "110", "110", "95.5", "101.25"]

    async def curve(*, seconds_a_step: float, rests_before_end: bool) -> tuple[list[Any], list[Any]]:
        async with run_trading(feed="replay") as fleet:
            user = fleet.a_user()
            order = await fleet.accepted(user, quantity="100")
            await fleet.report(user, fleet.filled(order, 100, "100", fee="10"))
            await fleet.becomes(order, user, "filled")

            async def stands_at(at: datetime) -> bool:
                """Asked twice: the first answer's rows may have been read before the market moved."""
                reads = [(await fleet.call("GET", "/internal/rest", user=user, issuer="cli")).body for _ in range(2)]
                return all(
                    rest["market_at"] == f"{at:%Y-%m-%dT%H:%M:%SZ}" and not rest["due"] and not rest["busy"]
                    for rest in reads
                )

            for step, close in enumerate(closes):
                fleet.clock.advance(seconds=seconds_a_step)
                at = DAY + timedelta(days=step + 1, hours=21)
                await quoted(fleet, close, at)
                await eventually(partial(is_marked, fleet, user, close))
                if rests_before_end:
                    await fleet.accepted(user, type="limit", limit_price="1")
                ended = MarketStepEnded(step=step, market_at=at, timeframe=Timeframe.D1, symbols=("AAPL/USD",))
                await fleet.publish(CORE_ENGINE_ORDER_REQUESTS, "step", ended, market_at=at)
                await eventually(partial(stands_at, at), what=f"step {step} is over")
            found = [
                (await fleet.call("GET", f"/api/v1/portfolio/history?timeframe={timeframe}", user=user)).body["data"]
                for timeframe in ("1h", "1d")
            ]
            return found[0], found[1]

    hours, days = await curve(seconds_a_step=0, rests_before_end=False)
    assert [(point["at"], point["equity"]) for point in days] == [
        ("2026-01-10T21:00:00Z", "100115"),
        ("2026-01-09T21:00:00Z", "99540"),
        ("2026-01-07T21:00:00Z", "100990"),
        ("2026-01-06T21:00:00Z", "99990"),
    ]
    assert hours == days
    assert await curve(seconds_a_step=2500, rests_before_end=True) == (hours, days)


async def test_what_an_account_is_made_of_says_which_marks_are_stale(fleet: Any) -> None:
    user = fleet.a_user()
    order = await fleet.accepted(user, quantity="250")
    await fleet.report(user, fleet.filled(order, 250, "100"))
    await fleet.becomes(order, user, "filled")

    async def shown() -> Any:
        return (await fleet.call("GET", "/api/v1/portfolio/allocation", user=user)).body

    found = await shown()
    (holding,) = found["holdings"]
    assert (holding["currency"], holding["value"], holding["weight"], holding["is_stale"]) == (
        "AAPL",
        "25000",
        "0.250000",
        False,
    )
    assert (found["gross_exposure"], found["net_exposure"], found["cash_weight"]) == ("25000", "25000", "0.750000")
    assert found["time_weighted_return"] == "0"
    at = fleet.clock.now()
    await quoted(fleet, "100", at, stale_after=at + timedelta(seconds=10))

    assert await stale_marks(fleet, user) == (False, False)

    async def is_stale() -> bool:
        return bool((await shown())["holdings"][0]["is_stale"])

    fleet.clock.advance(seconds=11)
    await eventually(is_stale)
    assert await stale_marks(fleet, user) == (True, True)
    # A mark that nothing is held at makes nothing stale.
    sold = await fleet.accepted(user, side="sell", type="limit", limit_price="100", quantity="250")
    await fleet.report(user, fleet.filled(sold, 250, "100"))
    await fleet.becomes(sold, user, "filled")
    assert await stale_marks(fleet, user) == (False, True)


async def stale_marks(fleet: Any, user: Any) -> tuple[bool, bool]:
    """As the portfolio and its one position say."""
    portfolio = (await fleet.call("GET", "/api/v1/portfolio", user=user)).body
    (position,) = (await fleet.call("GET", "/api/v1/positions", user=user)).body["data"]
    return portfolio["is_stale"], position["is_stale"]


async def test_a_position_says_since_when_it_is_held(fleet: Any) -> None:
    """bought → bought and sold on, the same position → closed → bought again: by the market's time of the fill"""
    user, at = fleet.a_user(), fleet.clock.now().replace(microsecond=0)

    async def traded(side: str, quantity: int, minutes: int) -> Any:
        order = await fleet.accepted(user, side=side, type="limit", limit_price="100", quantity=str(quantity))
        fill = fleet.filled(order, quantity, "100")
        await fleet.report(user, msgspec.structs.replace(fill, market_at=at + timedelta(minutes=minutes)))
        await fleet.becomes(order, user, "filled")
        (position,) = (await fleet.call("GET", "/api/v1/positions", user=user)).body["data"]
        return position["opened_at"]

    first = (at + timedelta(minutes=1)).isoformat().replace("+00:00", "Z")
    again = (at + timedelta(minutes=5)).isoformat().replace("+00:00", "Z")
    assert await traded("buy", 10, 1) == first
    assert await traded("buy", 5, 2) == first
    assert await traded("sell", 14, 3) == first
    assert await traded("sell", 1, 4) is None
    assert await traded("buy", 1, 5) == again


async def test_a_statement_leads_from_the_opening_to_the_closing_balances(run_trading: Any) -> None:
    async with run_trading() as fleet:
        user = fleet.a_user()
        order = await fleet.accepted(user)
        await fleet.report(user, fleet.filled(order, 10, "100", fee="1"))
        await fleet.becomes(order, user, "filled")
        account = fleet.account_of(user)

        async def statement(day: str) -> list[dict[str, str]]:
            path = f"{fleet.url}/api/v1/accounts/{account}/statements/{day}"
            token = fleet.signer.sign(
                "trading", {"sub": str(user), "roles": ["trader"], "scopes": ["read"], "sid": "s"}
            )
            async with fleet.http.get(path, headers={"Authorization": f"Bearer {token}"}) as response:
                assert response.status == 200
                assert response.content_type == "text/csv"
                return list(csv.DictReader(io.StringIO(await response.text())))

        lines = await statement("2026-01-05")
        assert [(line["kind"], line["currency"], line["amount"], line["balance"]) for line in lines] == [
            ("opening", "AAPL", "", "0"),
            ("opening", "USD", "", "0"),
            ("deposit", "USD", "100000", "100000"),
            ("trade", "USD", "-1000", "99000"),
            ("trade", "AAPL", "10", "10"),
            ("fee", "USD", "-1", "98999"),
            ("closing", "AAPL", "", "10"),
            ("closing", "USD", "", "98999"),
        ]
        assert lines[3]["settles_on"] == "2026-01-05"
        fleet.clock.advance(seconds=86_400)
        quiet = await statement("2026-01-06")
        assert [(line["kind"], line["balance"]) for line in quiet] == [
            ("opening", "10"),
            ("opening", "98999"),
            ("closing", "10"),
            ("closing", "98999"),
        ]
        later = await fleet.call("GET", f"/api/v1/accounts/{account}/statements/2026-01-07", user=user)
        assert (later.status, later.code) == (404, "statement_not_found")
        stranger = await fleet.call("GET", f"/api/v1/accounts/{account}/statements/2026-01-05", user=fleet.a_user())
        assert stranger.code == "account_not_found"
