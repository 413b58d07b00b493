"""Every other kind of order to its end, on the internal venue: two users meet there at the prices that a test chooses."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from fleet_sdk.socket import Socket
from fleet_testkit.eventually import eventually
from orders_under_way import assert_money, market_order
from whole_fleet import User, WholeFleet, until_priced, until_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SYMBOL = "MSFT/USD"
Json = dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """Two who have 20 of the symbol each, and the price round which they meet."""

    one: User
    other: User
    price: Decimal

    def at(self, away: str) -> str:
        return str(self.price + Decimal(away))

    async def place(self, user: User, side: str, quantity: int, *, limit: str | None = None, **changes: Any) -> str:
        """The order's id, once the venue has it or it has ended. `limit` and what ends in `_price` are distances."""
        prices = {name: self.at(value) for name, value in changes.items() if name.endswith("_price")}
        body = market_order(SYMBOL, venue="internal", side=side, quantity=str(quantity)) | changes | prices
        if limit is not None:
            body |= {"limit_price": self.at(limit)}
            body |= {"type": "limit"} if body["type"] == "market" else {}
        placed = await user.client.place_order(body)
        order_id: str = placed["order_id"]

        async def is_there() -> bool:
            return bool((await user.client.order(order_id))["status"] not in {"pending_new", "accepted"})

        await eventually(is_there)
        return order_id

    async def trade(self, away: str) -> None:
        """One is traded at this price: the one sells, the other buys."""
        sold = await self.place(self.one, "sell", 1, limit=away)
        bought = await self.place(self.other, "buy", 1, limit=away)
        for user, order_id in ((self.one, sold), (self.other, bought)):
            filled = await until_status(user.client, order_id, "filled")
            assert Decimal(filled["average_fill_price"]) == Decimal(self.at(away)), "somebody else was there"

    async def ended(self, user: User, order_id: str, status: str, reason: str | None = None) -> Json:
        order = await until_status(user.client, order_id, status)
        assert (order["reason"] or {"code": None})["code"] == reason, order
        return order


@pytest.fixture
async def pair(fleet: WholeFleet, user: User, other_user: User) -> AsyncIterator[Pair]:
    """Afterwards nobody's order rests, and the books hold."""
    price = (await until_priced(user.client, SYMBOL)).quantize(Decimal("0.01"))
    for one in (user, other_user):
        placed = await one.client.place_order(market_order(SYMBOL, quantity="20"))
        await until_status(one.client, placed["order_id"], "filled")
    yield Pair(user, other_user, price)
    for one in (user, other_user):
        await one.client.request("DELETE", "/orders")

        async def none_is_open(client: Any = one.client) -> bool:
            return not [order async for order in client.orders(status="open")]

        await eventually(none_is_open)
        await assert_money(one.client)
    fleet.verify_books()


async def test_the_socket_shows_the_best_prices_of_the_book_and_its_trades(pair: Pair) -> None:
    """a bid rests: the quote of the venue → the other sells to it: the trade"""
    async with pair.one.client.socket() as stream:
        await stream.subscribe("market_data", [SYMBOL])
        bid = await pair.place(pair.one, "buy", 2, limit="-0.5")
        quote = await shown(stream, "quote", bid=Decimal(pair.at("-0.5")))
        assert (Decimal(quote["bid_size"]), quote["stale"]) == (Decimal(2), False)
        await pair.place(pair.other, "sell", 2, limit="-0.5")
        await pair.ended(pair.one, bid, "filled")
        trade = await shown(stream, "trade", price=Decimal(pair.at("-0.5")))
        assert Decimal(trade["quantity"]) == 2


async def shown(stream: Socket, kind: str, **wanted: Decimal) -> Json:
    """The first of the venue with these values, within a minute: so often a book is shown whole."""
    async with asyncio.timeout(70):
        async for message in stream:
            for item in message["data"]:
                is_ours = item["venue"] == "internal" and item["type"] == kind
                if is_ours and all(Decimal(item[name] or 0) == value for name, value in wanted.items()):
                    told: Json = item
                    return told
    raise AssertionError("the socket has ended")


async def test_what_rests_is_as_large_as_it_may_be_and_shows_what_it_should(pair: Pair) -> None:
    """post_only rests or is canceled; an iceberg shows 2 of 5 and trades 2, 2, 1; reduce_only is cut to what is held"""
    one, other = pair.one, pair.other
    rests = await pair.place(one, "sell", 1, limit="0.10", post_only=True)
    crosses = await pair.place(other, "buy", 1, limit="0.10", post_only=True)
    await pair.ended(other, crosses, "canceled", "post_only")
    taker = await pair.place(other, "buy", 1, limit="0.10")
    await pair.ended(other, taker, "filled")
    await pair.ended(one, rests, "filled")

    iceberg = await pair.place(one, "sell", 5, limit="0.20", display_quantity="2")
    shown = await one.client.request("GET", f"/books/{SYMBOL.replace('/', '-')}")
    assert [[Decimal(number) for number in level[:2]] for level in shown["asks"]] == [[pair.price + Decimal("0.20"), 2]]
    taker = await pair.place(other, "buy", 5, limit="0.20")
    await pair.ended(other, taker, "filled")
    await pair.ended(one, iceberg, "filled")
    slices = Counter([Decimal(trade["quantity"]) async for trade in one.client.trades(order_id=iceberg)])
    assert slices == {Decimal(2): 2, Decimal(1): 1}

    # The other has bought 6 at this venue, which is what it goes by.
    exits = await pair.place(other, "sell", 8, limit="0.30", reduce_only=True)
    await eventually(partial(is_of, other, exits, 6))
    sold = await pair.place(other, "sell", 2, limit="0.25")
    await eventually(partial(is_of, other, exits, 4))
    bought = await pair.place(one, "buy", 6, limit="0.30")
    for user, order_id, quantity in ((one, bought, 6), (other, sold, 2), (other, exits, 4)):
        assert Decimal((await pair.ended(user, order_id, "filled"))["filled_quantity"]) == quantity


async def is_of(user: User, order_id: str, quantity: int) -> bool:
    return Decimal((await user.client.order(order_id))["quantity"]) == quantity


async def test_an_order_lasts_as_long_as_it_says(pair: Pair) -> None:
    """fok is whole or canceled; ioc fills what is there; gtd expires; at_open and at_close wait for their auction"""
    one, other = pair.one, pair.other
    rests = await pair.place(one, "sell", 3, limit="0")
    canceled = await pair.ended(
        other, await pair.place(other, "buy", 4, limit="0", time_in_force="fok"), "canceled", "fok"
    )
    assert Decimal(canceled["filled_quantity"]) == 0
    await pair.ended(other, await pair.place(other, "buy", 3, limit="0", time_in_force="fok"), "filled")
    await pair.ended(one, rests, "filled")

    rests = await pair.place(one, "sell", 3, limit="0")
    for quantity, filled, status, reason in (
        (1, 1, "filled", None),
        (5, 2, "canceled", "ioc"),
        (1, 0, "canceled", "ioc"),
    ):
        order_id = await pair.place(other, "buy", quantity, limit="0", time_in_force="ioc")
        ended = await pair.ended(other, order_id, status, reason)
        assert Decimal(ended["filled_quantity"]) == filled
    await pair.ended(one, rests, "filled")

    ends_at = datetime.now(UTC) + timedelta(seconds=2)
    dated = await pair.place(other, "buy", 1, limit="-0.10", time_in_force="gtd", expires_at=ends_at.isoformat())
    # The venue's calendar has an auction at the end of each UTC day, which is both: till then they rest, and meet nobody.
    auctions = [
        await pair.place(other, "buy", 1, limit="0.10", time_in_force="at_close"),
        await pair.place(one, "sell", 1, limit="-0.10", time_in_force="at_open"),
    ]
    for user, order_id in zip((other, one), auctions, strict=True):
        assert (await user.client.order(order_id))["status"] == "new"
        await user.client.cancel_order(order_id)
        await pair.ended(user, order_id, "canceled", "requested")
    await until_status(other.client, dated, "expired")
    assert datetime.now(UTC) >= ends_at


async def test_what_waits_for_a_price_waits_for_it_and_fills_there(pair: Pair) -> None:
    """stop_limit and limit_if_touched rest at their limit once triggered; a trailing stop sells behind the best price"""
    one, other = pair.one, pair.other
    stop = await pair.place(one, "sell", 2, type="stop_limit", stop_price="-0.10", limit="-0.30")
    await pair.trade("0")
    assert (await one.client.order(stop))["status"] == "new"
    bid = await pair.place(other, "buy", 2, limit="-0.20")
    await pair.trade("-0.10")
    filled = await pair.ended(one, stop, "filled")
    assert Decimal(filled["average_fill_price"]) == Decimal(pair.at("-0.20")), "as a taker, within its limit"
    await pair.ended(other, bid, "filled")

    touched = await pair.place(other, "buy", 2, type="limit_if_touched", stop_price="-0.40", limit="-0.45")
    await pair.trade("0")
    assert (await other.client.order(touched))["status"] == "new"
    await pair.trade("-0.40")
    sold = await pair.place(one, "sell", 2, limit="-0.45")
    await pair.ended(one, sold, "filled")
    filled = await pair.ended(other, touched, "filled")
    assert Decimal(filled["average_fill_price"]) == Decimal(pair.at("-0.45"))

    trailing = await pair.place(one, "sell", 2, type="trailing_stop", trail_amount="0.20")
    bid = await pair.place(other, "buy", 2, limit="-0.60")
    for away in ("0.10", "0.50", "0.31"):
        await pair.trade(away)
        assert (await one.client.order(trailing))["status"] == "new", away
    await pair.trade("0.30")
    filled = await pair.ended(one, trailing, "filled")
    assert Decimal(filled["average_fill_price"]) == Decimal(pair.at("-0.60"))
    await pair.ended(other, bid, "filled")


async def test_the_exits_of_a_group_share_what_there_is_to_exit(pair: Pair) -> None:
    """oto: its take-profit is as large as what has filled, and fills; oco: what one fills the other is smaller by"""
    one, other = pair.one, pair.other
    entry = await pair.place(one, "buy", 3, limit="0", order_class="oto", take_profit={"limit_price": pair.at("0.40")})
    (profit,) = (await one.client.order(entry))["legs"]
    sold = await pair.place(other, "sell", 3, limit="0")
    await pair.ended(other, sold, "filled")
    await pair.ended(one, entry, "filled")
    leg = await until_status(one.client, profit, "new")
    assert (leg["parent_order_id"], leg["side"], leg["quantity"]) == (entry, "sell", "3")
    bought = await pair.place(other, "buy", 3, limit="0.40")
    await pair.ended(other, bought, "filled")
    assert Decimal((await pair.ended(one, profit, "filled"))["average_fill_price"]) == Decimal(pair.at("0.40"))

    profit = await pair.place(
        one, "sell", 3, limit="0.40", order_class="oco", stop_loss={"stop_price": pair.at("-0.40")}
    )
    (loss,) = (await one.client.order(profit))["legs"]
    bought = await pair.place(other, "buy", 1, limit="0.40")
    await pair.ended(other, bought, "filled")
    await eventually(partial(is_of, one, loss, 2))
    bid = await pair.place(other, "buy", 2, limit="-0.50")
    await pair.trade("-0.40")
    ended = await pair.ended(one, profit, "canceled", "oco")
    assert Decimal(ended["filled_quantity"]) == 1
    filled = await pair.ended(one, loss, "filled")
    assert Decimal(filled["filled_quantity"]) == 2
    assert Decimal(filled["average_fill_price"]) == Decimal(pair.at("-0.50"))
    await pair.ended(other, bid, "filled")
