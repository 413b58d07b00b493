"""Why an open order is not filled: worked out where it is read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID

import pytest
from account_commands import AAPL, NOW, an_account, an_order, done
from fleet_contracts import execution
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.topics import CORE_ENGINE_STATE, DATA_INSTRUMENTS, DATA_QUOTES
from fleet_contracts.vocabulary import StateScope, TradingStateWord
from fleet_testkit.eventually import eventually
from fleet_trading.domain import Order, Reason, Reference, Stand, TradingState
from fleet_trading.domain.waiting import waits_for

OPENS = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
CLOSES = datetime(2026, 1, 5, 21, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FRESH = Reference(D(99), D(101), D(100), NOW, False)


def an_open_order() -> Order:
    account = an_account()
    done(account, an_order(limit=90))
    return account.orders[UUID(int=10)]


def why(order: Order, **changed: Any) -> str | None:
    given: dict[str, Any] = {
        "instrument": replace(AAPL, calendar="XNYS"),
        "reference": FRESH,
        "state": TradingState.ACTIVE,
        "now": OPENS,
    }
    reason = waits_for(order, **(given | changed))
    return None if reason is None else reason.code


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (OPENS - MICROSECOND, "market_closed"),
        (OPENS, None),
        (CLOSES - MICROSECOND, None),
        (CLOSES, "market_closed"),
        (OPENS.replace(year=2126), "market_closed"),  # no table goes so far
        (None, None),  # on a replay
    ],
)
def test_it_waits_for_a_session(now: datetime | None, code: str | None) -> None:
    assert why(an_open_order(), now=now) == code
    assert why(an_open_order(), now=now, instrument=AAPL) is None, "round the clock"


def test_it_says_when_the_market_opens() -> None:
    reason = waits_for(
        an_open_order(),
        instrument=replace(AAPL, calendar="XNYS"),
        reference=FRESH,
        state=TradingState.ACTIVE,
        now=CLOSES,
    )
    assert reason == Reason("market_closed", "AAPL/USD is not traded now, it is again from 2026-01-06T14:30:00Z on.")


def test_a_halt_comes_before_a_session_and_a_session_before_prices() -> None:
    stale = replace(FRESH, is_stale=True)
    assert why(an_open_order(), reference=stale) == "stale_reference"
    assert why(an_open_order(), reference=stale, now=CLOSES) == "market_closed"
    assert why(an_open_order(), reference=stale, now=CLOSES, state=TradingState.HALTED) == "market_halted"
    assert why(an_open_order(), state=TradingState.REDUCING) is None, "what rests is filled all the same"


def test_what_does_not_wait_for_the_market_says_nothing() -> None:
    order = an_open_order()
    order.reason = Reason("venue_unanswered", "")
    assert why(order, state=TradingState.HALTED) is None, "it says what it was told"
    order.reason, order.stand = None, Stand.FILLED
    assert why(order, state=TradingState.HALTED) is None
    assert why(an_open_order(), instrument=None) is None
    elsewhere = an_open_order()
    elsewhere.venue = "internal"
    assert why(elsewhere, reference=replace(FRESH, is_stale=True)) is None, "clients fill each other there"


async def test_a_resting_order_tells_why_it_is_not_filled(run_trading: Any) -> None:
    """resting → prices stop → they go on → the session ends → it is halted → it goes on; nothing is kept"""
    async with run_trading() as fleet:
        user = fleet.a_user()
        symbol = "REST/USD"
        await fleet.publish(DATA_QUOTES, symbol, fleet.a_quote(symbol, "100"))
        await fleet.publish(DATA_INSTRUMENTS, symbol, fleet.an_instrument(symbol, calendar="XNYS"))

        async def placed() -> Any:
            reply = await fleet.order(user, symbol=symbol, type="limit", limit_price="90", quantity="1")
            return reply.body if reply.status == 201 else None

        order = await eventually(placed, what="the symbol is traded")
        accepted = execution.OrderAccepted(order_id=UUID(order["order_id"]), market_at=fleet.clock.now(), venue="paper")
        await fleet.report(user, accepted)
        await fleet.becomes(order, user, "new")

        async def becomes(code: str | None) -> None:
            async def is_so() -> bool:
                shown = await fleet.shown(order, user)
                (listed,) = await fleet.orders(user, status="open")
                codes = [one["reason"] and one["reason"]["code"] for one in (shown, listed)]
                return codes == [code, code] and shown["version"] == 2

            await eventually(is_so, what=f"it waits for {code}")

        await becomes(None)
        stale_after = fleet.clock.now() + timedelta(seconds=5)
        await fleet.publish(DATA_QUOTES, symbol, fleet.a_quote(symbol, "101", stale_after=stale_after))
        await becomes(None)
        fleet.clock.advance(seconds=5.1)
        await becomes("stale_reference")
        await fleet.publish(DATA_QUOTES, symbol, fleet.a_quote(symbol, "100"))
        await becomes(None)
        fleet.clock.advance(seconds=7 * 3600)
        await becomes("market_closed")
        for version, state, code in (
            (1, TradingStateWord.HALTED, "market_halted"),
            (2, TradingStateWord.ACTIVE, "market_closed"),
        ):
            change = TradingStateChanged(
                scope=StateScope.SYMBOL,
                target=symbol,
                state=state,
                epoch=1,
                version=version,
                by="test",
                reason="test",
                changed_at=fleet.clock.now(),
            )
            await fleet.publish(CORE_ENGINE_STATE, f"symbol:{symbol}", change)
            await becomes(code)
