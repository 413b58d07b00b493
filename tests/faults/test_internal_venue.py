"""Clients trade with each other on the internal venue while its engine dies again and again."""

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID, uuid5

import msgspec
import pytest
from fleet_bus.received import Record
from fleet_contracts.topics import VENUE_INTERNAL_COMMANDS, VENUE_INTERNAL_REPORTS
from fleet_contracts.venue import (
    AnyVenueReport,
    VenueOrderExpired,
    VenueOrderFilled,
    VenueOrderTriggered,
    VenueReports,
)
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError, OutcomeUnknown, Unreachable
from fleet_testkit.eventually import eventually
from journal_replay import log, naive_replay, said
from orders_under_way import assert_booked, market_order
from whole_fleet import WholeFleet, until_priced, until_status, whole_fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_800)]
# The same orders each time, others on request.
SEED = int(os.environ.get("FLEET_INTERNAL_SEED", "7"))
ORDERS = int(os.environ.get("FLEET_INTERNAL_ORDERS", "100000"))
KILLS = 5
ACCOUNTS = 8
BATCH = 120
# One symbol for each partition of the venue's log, with the amount that an account has of it before it begins.
SYMBOLS = {"FB/USD": Decimal(300), "BTC/USD": Decimal("0.2"), "GOOG/USD": Decimal(12), "IBM/USD": Decimal(50)}
LOTS = {"FB/USD": Decimal(1), "BTC/USD": Decimal("0.001"), "GOOG/USD": Decimal(1), "IBM/USD": Decimal(1)}
TICK = Decimal("0.01")
LIMITS = {
    # The whole fleet is driven as fast as it goes; what is tested here is not its limits.
    "FLEET_MATCHING_ENGINE_RATE_MESSAGES": "1000000",
    # One a partition: behind the second the log would be cut, and could not be replayed from its beginning.
    "FLEET_MATCHING_ENGINE_SNAPSHOT_EVERY": "25000",
    "FLEET_TRADING_SLOW_PATH_S": "20",
    "FLEET_TRADING_SEND_BY_S": "120",
}
Json = dict[str, Any]
log_of_test = logging.getLogger(__name__)


async def test_after_five_kills_books_fills_and_ledger_are_those_of_a_naive_replay() -> None:
    """100,000 orders of eight accounts in the venue's log, stops and some that end at a date among them, the engine killed
    five times → the naive book, driven by the journal once, has the same fills, the same books; trading has each fill once,
    and its ledger is the sum of them"""
    log_of_test.info("seed %s, %s orders: FLEET_INTERNAL_SEED, FLEET_INTERNAL_ORDERS", SEED, ORDERS)
    with whole_fleet("simulated", port_offset=645, environment=LIMITS) as fleet:
        async with AsyncExitStack() as stack:
            users = [await stack.enter_async_context(fleet.user()) for _ in range(ACCOUNTS)]
            admin = await stack.enter_async_context(fleet.admin())
            prices = {symbol: await until_priced(users[0].client, symbol) for symbol in SYMBOLS}
            traders = [Trader(user.client, random.Random(f"{SEED}-{n}"), prices) for n, user in enumerate(users)]
            await asyncio.gather(*(trader.equip() for trader in traders))
            progress = Progress(fleet)
            while True:
                await asyncio.gather(*(trader.trade(progress) for trader in traders))
                # What execution refused while the engine was away never got there, and is made up for.
                placed = len(await placements(fleet))
                if placed >= ORDERS:
                    break
                progress.wanted += ORDERS - placed
            assert progress.kills == KILLS
            await fleet.until_ready(120)
            await admin.request("POST", "/exchanges/paper/feed", {"action": "pause"})
            rest = await asyncio.to_thread(fleet.command, "rest", "--wait", "--timeout-s", "300")
            assert rest.returncode == 0, rest.stdout + rest.stderr
            await eventually(partial(none_ends_later, traders), 120, what="the end of all that is good till a date")
            await compare(fleet, traders)
        fleet.verify_books()
        parked = await asyncio.to_thread(fleet.command, "parked", "list")
        assert parked.returncode == 0 and "nothing" in parked.stdout, parked.stdout + parked.stderr


@dataclass
class Progress:
    """How many orders have been accepted; at equal distances the engine is killed."""

    fleet: WholeFleet
    accepted: int = 0
    kills: int = 0
    wanted: int = ORDERS

    def count(self, accepted: int) -> None:
        self.accepted += accepted
        if self.kills < KILLS and self.accepted >= ORDERS * (self.kills + 1) // (KILLS + 1):
            try:
                self.fleet.kill("matching-engine")
            except (AssertionError, ProcessLookupError):
                return  # not back yet from the last one; the next batch kills it
            self.kills += 1
            log_of_test.info("killed for the %s. time after %s orders", self.kills, self.accepted)

    @property
    def is_over(self) -> bool:
        return self.accepted >= self.wanted and self.kills == KILLS


@dataclass
class Trader:
    """Buys and sells around the price that stood at the beginning, and cancels what rests from time to time."""

    client: FleetClient
    chance: random.Random
    prices: dict[str, Decimal]
    sent: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    async def equip(self) -> None:
        for symbol, quantity in SYMBOLS.items():
            placed = await self.client.place_order(market_order(symbol, quantity=str(quantity)))
            await until_status(self.client, placed["order_id"], "filled", timeout_s=60)

    async def trade(self, progress: Progress) -> None:
        batches = 0
        while not progress.is_over:
            orders = [self.order() for _ in range(BATCH)]
            answers = await answered(partial(self.client.place_orders, orders))
            accepted = [answer["order"] for answer in answers if answer["status"] in (200, 201)]
            self.refusals.update(a["problem"]["code"] for a in answers if "problem" in a)
            progress.count(len(accepted))
            batches += 1
            if accepted:
                # No more on the way than one batch of each account.
                await eventually(partial(self.is_known, accepted[-1]["order_id"]), 180, what="the last of a batch")
            if batches % 3 == 0 or not accepted:
                await answered(partial(self.client.request, "DELETE", "/orders"))

    def order(self) -> Json:
        self.sent += 1
        symbol = self.chance.choice(list(SYMBOLS))
        lots = self.chance.randint(1, 2)
        price = self.prices[symbol].quantize(TICK) + TICK * self.chance.randint(-5, 5)
        kind = self.chance.choices(["gtc", "ioc", "gtd", "stop"], [12, 6, 2, 1])[0]
        order = {
            "client_order_id": f"o-{self.sent}",
            "symbol": symbol,
            "venue": "internal",
            "side": self.chance.choice(["buy", "sell"]),
            "type": "stop" if kind == "stop" else "limit",
            "quantity": str(LOTS[symbol] * lots),
            "stop_price" if kind == "stop" else "limit_price": str(price),
            "time_in_force": "gtc" if kind == "stop" else kind,
        }
        if kind == "gtd":
            ends_at = datetime.now(UTC) + timedelta(seconds=self.chance.uniform(5, 20))
            order["expires_at"] = ends_at.isoformat()
        return order

    async def is_known(self, order_id: str) -> bool:
        try:
            return bool((await self.client.order(order_id))["status"] != "pending_new")
        except (ApiError, OutcomeUnknown, Unreachable):
            return False


async def answered(ask: Any) -> Any:
    """Asked again, with the same names of its orders, until there is an answer."""

    async def answer() -> Any:
        try:
            return (await ask(),)
        except ApiError as error:
            if error.status < 500 and error.status != 429:
                raise
        except (OutcomeUnknown, Unreachable):
            pass
        return None

    return (await eventually(answer, 120, what="an answer"))[0]


async def placements(fleet: WholeFleet) -> list[Record]:
    commands = await log(fleet.description["kafka"]["url"], VENUE_INTERNAL_COMMANDS)
    return [record for record in commands if record.type == "venue.PlaceVenueOrder"]


async def none_ends_later(traders: list[Trader]) -> bool:
    found = [order for trader in traders async for order in trader.client.orders(status="open")]
    return not any(order["time_in_force"] == "gtd" for order in found)


async def compare(fleet: WholeFleet, traders: list[Trader]) -> None:
    """Journal, engine, trading: the same."""
    described = fleet.description
    reported = await said(described["kafka"]["url"])
    commands = await log(described["kafka"]["url"], VENUE_INTERNAL_COMMANDS)
    await assert_refused_for_a_reason(traders)
    naive, machines = await naive_replay(commands, described["services"]["matching-engine"]["database_url"])
    # execution goes on asking what is open, and books are shown whole: what was said since is in the replay only.
    later = naive.keys() - reported.keys()
    assert all(is_answer(naive[place][2]) or is_snapshot(naive[place][2]) for place in later), later
    assert reported == {place: words for place, words in naive.items() if place not in later}
    books = {symbol: book for machine in machines for symbol, book in machine.venue.books.items()}
    for symbol in SYMBOLS:
        book = books[symbol]
        shown = await traders[0].client.request("GET", f"/books/{symbol.replace('/', '-')}", params={"depth": 1000})
        assert (shown["orders"], shown["sequence"]) == (len(book.orders), book.deltas)
        assert shown["checksum"] == book.checksum()
        assert Decimal(shown["last_price"]) == book.scale.price(book.price)
    fills = fills_of(naive)
    assert len(fills) > ORDERS / 4, "the orders hardly met"
    kinds = Counter(type(report) for report in reports_of(naive))
    assert kinds[VenueOrderExpired] and kinds[VenueOrderTriggered], kinds
    resting = {UUID(ref) for book in books.values() for ref in book.orders}
    told: dict[UUID, tuple[Decimal, Decimal, Decimal]] = {}
    open_refs: set[UUID] = set()
    for trader in traders:
        trades = [trade async for trade in trader.client.trades()]
        told |= {UUID(t["trade_id"]): _of(t) for t in trades if t["venue"] == "internal"}
        open_refs |= {_ref(order["order_id"]) async for order in trader.client.orders(status="open")}
        await assert_booked(trader.client, trades)
    assert told == fills
    assert open_refs == resting
    refusals = sum((trader.refusals for trader in traders), Counter[str]())
    log_of_test.info(
        "%s commands, %s fills, %s resting; refused: %s", len(commands), len(fills), len(resting), dict(refusals)
    )


def fills_of(naive: Any) -> dict[UUID, tuple[Decimal, Decimal, Decimal]]:
    """Each fill of an order by the id that trading must know it by."""
    found: dict[UUID, tuple[Decimal, Decimal, Decimal]] = {}
    for report in reports_of(naive):
        if isinstance(report, VenueOrderFilled):
            trade_id = uuid5(report.venue_order_ref, f"internal:{report.venue_trade_id}")
            assert trade_id not in found
            found[trade_id] = (report.last_quantity, report.last_price, report.fee)
    return found


def reports_of(naive: Any) -> Iterator[AnyVenueReport]:
    for (topic, _, _), (_, _, payload) in naive.items():
        if topic == VENUE_INTERNAL_REPORTS.name and not is_answer(payload):
            yield from msgspec.json.decode(payload, type=VenueReports).reports


def is_answer(payload: bytes | None) -> bool:
    """Whether it is the venue's answer to what is open there."""
    return b'"query_id":' in (payload or b"")


def is_snapshot(payload: bytes | None) -> bool:
    return b'"depth":' in (payload or b"")


def _of(trade: Json) -> tuple[Decimal, Decimal, Decimal]:
    return Decimal(trade["quantity"]), Decimal(trade["price"]), Decimal(trade["fee"])


def _ref(order_id: str) -> UUID:
    return uuid5(UUID(order_id), "venue-order:1")


async def assert_refused_for_a_reason(traders: list[Trader]) -> None:
    """Why orders were rejected: by execution while the engine is away and until its books are compared with, or by the
    venue, having waited for it beyond their end."""
    closed = [order for trader in traders async for order in trader.client.orders(status="closed")]
    codes = Counter(order["reason"]["code"] for order in closed if order["status"] == "rejected")
    log_of_test.info("never sent: %s", dict(codes))
    assert codes.keys() <= {"venue_in_doubt", "too_late", "already_expired"}, codes
