"""A trade that its venue corrects or busts: the order's side, the ledger's, and what is told."""

from decimal import Decimal as D
from typing import Any
from uuid import UUID, uuid4

from account_commands import NOW, a_fill, an_account, an_order, done
from fleet_contracts import execution
from fleet_simulator import Side
from fleet_testkit.eventually import eventually
from fleet_trading.domain import AccountRestricted, ReportExpiry, TradeCorrected


def test_a_bust_of_an_open_order_gives_the_quantity_back() -> None:
    account = an_account()
    done(account, an_order(limit=100))
    done(account, a_fill(10, 100, 4, 100))
    order = account.orders[UUID(int=10)]
    (event,) = done(account, a_fill(10, 100, 0, 100, revision=1))
    assert isinstance(event, TradeCorrected)
    assert (order.status, order.filled_quantity, order.reserved) == ("new", D(0), D(1001))
    assert (account.balance("USD").total, account.balance("AAPL").total) == (D(100_000), D(0))
    assert done(account, a_fill(10, 100, 4, 100)) == []  # The trade as it was first told.


def test_what_has_ended_stays_ended() -> None:
    account = an_account()
    done(account, an_order(limit=100))
    done(account, a_fill(10, 100, 10, 100))
    order = account.orders[UUID(int=10)]
    done(account, a_fill(10, 100, 6, 99, 1, revision=1))
    assert (order.status, order.filled_quantity, order.filled_notional, order.fees) == ("canceled", D(6), D(594), D(1))
    assert (account.balance("USD").total, account.balance("USD").reserved) == (D(99_405), D(0))
    done(account, an_order(11, limit=100))
    done(account, ReportExpiry(order_id=UUID(int=11), cumulative_quantity=D(0), now=NOW))
    done(account, a_fill(11, 101, 1, 100))
    done(account, a_fill(11, 101, 2, 100, revision=1))
    assert (account.orders[UUID(int=11)].status, account.orders[UUID(int=11)].filled_quantity) == ("expired", D(2))


def test_a_bust_of_what_was_sold_on_restricts_the_account() -> None:
    account = an_account()
    done(account, an_order())
    done(account, a_fill(10, 100, 10, 100))
    done(account, an_order(11, Side.SELL))
    done(account, a_fill(11, 101, 10, 110))
    _, restricted = done(account, a_fill(10, 100, 0, 100, revision=1))
    assert isinstance(restricted, AccountRestricted)
    assert account.positions["AAPL/USD"].quantity == account.balance("AAPL").total == -10


async def test_a_correction_is_booked_once_and_the_books_hold(fleet: Any) -> None:
    user = fleet.a_user()
    order = await fleet.accepted(user)
    trade = uuid4()
    fill = fleet.filled(order, 10, 100, fee="1", trade=trade)
    fields = {name: getattr(fill, name) for name in fill.__struct_fields__}

    def corrected(quantity: int, revision: int) -> execution.TradeCorrected:
        changed = {"last_quantity": D(quantity), "cumulative_quantity": D(quantity), "fee": D(0), "revision": revision}
        return execution.TradeCorrected(**(fields | changed), code="bust", detail="Clearly erroneous.")

    await fleet.report(user, fill)
    await fleet.becomes(order, user, "filled")
    await fleet.report(user, corrected(8, 1))
    shown = await fleet.becomes(order, user, "canceled")
    assert (shown["filled_quantity"], shown["reason"]["code"]) == ("8", "bust")
    # Both told again, and the bust that comes in between.
    await fleet.report(user, corrected(0, 2), corrected(8, 1), fill)

    async def is_busted() -> bool:
        return bool(await fleet.balance(user) == (100_000, 0))

    await eventually(is_busted, timeout_s=30, what="the trade is busted")
    (shown_trade,) = (await fleet.call("GET", "/api/v1/trades", user=user)).body["data"]
    assert (shown_trade["trade_id"], shown_trade["quantity"]) == (str(trade), "0")
    assert await fleet.balance(user, "AAPL") == (0, 0)
    events = (await fleet.call("GET", f"/api/v1/orders/{order['order_id']}/events", user=user)).body["data"]
    told = [(event["version"], event["event"], event["status"], event.get("trade_id")) for event in events]
    assert told == [
        (1, "placed", "pending_new", None),
        (2, "filled", "filled", str(trade)),
        (3, "trade_reduced", "canceled", str(trade)),
        (4, "trade_busted", "canceled", str(trade)),
    ]
    assert events[3]["reason"] == {"code": "bust", "detail": "Clearly erroneous."}
    await fleet.books_hold()
