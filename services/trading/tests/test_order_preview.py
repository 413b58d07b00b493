"""A preview says what a submission would come to, all that is against it, and leaves nothing behind."""

from decimal import Decimal as D
from typing import Any

import asyncpg
from account_commands import an_account, an_order, conditions, done
from fleet_simulator import OrderType, Side
from fleet_trading.domain import OrderDenied, OrderPlaced, Reference, Terms, TradingState, apply, decide, preview
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = conditions().now
HALTED = conditions(state=TradingState.HALTED)
STALE = conditions(reference=Reference(D(99), D(101), D(100), NOW, True))


@given(
    usd=st.sampled_from([0, 900, 100_000]),
    side=st.sampled_from(Side),
    quantity=st.sampled_from(["0", "0.5", "10"]),
    notional=st.sampled_from([None, D(1), D(500)]),
    limit=st.sampled_from([None, "0.1", "90", "90.00001"]),
    world=st.sampled_from([conditions(), HALTED, STALE, conditions(instrument=None)]),
    trail=st.booleans(),
)
@settings(max_examples=300)
def test_it_says_no_when_and_only_when_acceptance_does_with_its_reason_among_them(
    usd: int, side: Side, quantity: str, notional: D | None, limit: str | None, world: Any, trail: bool
) -> None:
    account = an_account(usd)
    done(account, an_order(9, limit=1))
    more = {"type": OrderType.TRAILING_STOP, "terms": Terms(trail_percent=D(2))} if trail else {}
    command = an_order(10, side, 0 if notional else quantity, limit, notional=notional, conditions=world, **more)
    before = repr(account)
    found = preview(account, command)
    assert repr(account) == before
    (event,) = decide(account, command)
    if isinstance(event, OrderDenied):
        assert event.order.reason in found.reasons
        return
    assert isinstance(event, OrderPlaced)
    assert found.reasons == ()
    apply(account, event)
    assert account.balance("USD").available == found.buying_power_after
    assert found.cost is not None
    assert (found.cost > 0) is (side is Side.BUY)


def test_all_reasons_are_told() -> None:
    codes = [r.code for r in preview(an_account(10), an_order(venue="nowhere", conditions=HALTED)).reasons]
    assert codes == ["unsupported", "market_halted", "insufficient_funds"]


async def test_nothing_is_kept_of_it(fleet: Any) -> None:
    user = fleet.a_user()
    body = {"symbol": "AAPL/USD", "side": "buy", "type": "market", "quantity": "10", "client_order_id": "one"}

    async def asked(**changed: Any) -> Any:
        reply = await fleet.call("POST", "/api/v1/orders/preview", body | changed, user=user)
        assert reply.status == 200, reply.body
        return reply.body

    expected = {"estimated_cost": "1000", "estimated_fee": "1", "buying_power_after": "98948.95"}
    assert await asked() == {"accepted": True, "reasons": []} | expected
    refused = await asked(
        quantity="1000", order_class="bracket", take_profit={"limit_price": "120"}, stop_loss={"stop_price": "90"}
    )
    assert (refused["accepted"], [reason["code"] for reason in refused["reasons"]]) == (False, ["insufficient_funds"])
    assert refused["buying_power_after"] == "100000"
    malformed = await fleet.call("POST", "/api/v1/orders/preview", body | {"quantity": "x"}, user=user)
    assert (malformed.status, malformed.code) == (422, "invalid_request")
    foreign = await fleet.call("POST", "/api/v1/orders/preview", body, user=user, roles=("viewer",))
    assert foreign.status == 403
    assert await fleet.orders(user) == []
    connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
    try:
        assert await connection.fetchval("SELECT version FROM accounts WHERE user_id = $1", user) == 1
    finally:
        await connection.close()
    assert (await fleet.accepted(user, client_order_id="one"))["status"] == "pending_new"
