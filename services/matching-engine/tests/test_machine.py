"""What the venue says follows from its journal: the same of either engine, of any snapshot, with anything archived."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from fleet_bus import CLOCK, Fact
from fleet_bus.journal_partition import JournalPartition
from fleet_chassis.database import Database
from fleet_contracts import venue
from fleet_contracts.topics import VENUE_INTERNAL_COMMANDS
from fleet_contracts.vocabulary import OrderType, SelfTrade, Side, TimeInForce
from fleet_matching_engine.app import engine_of
from fleet_matching_engine.domain.orders import EndedOrder, OrderFill
from fleet_matching_engine.domain.rules import (
    ALONE,
    CANCEL_AFTER,
    INSTRUMENT,
    MASS_CANCEL,
    REFERENCE,
    RULES,
    STATE,
    Cutoffs,
    MassCancel,
    Reference,
    Rules,
    State,
    Terms,
)
from fleet_matching_engine.domain.sessions import SESSION
from fleet_matching_engine.domain.sessions import session as session_of
from fleet_matching_engine.events import trade_number
from fleet_matching_engine.service import VenueMachine, fact
from fleet_matching_engine.store import PostgresArchive
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_replay import record_of

SYMBOL = "AAPL/USD"
BEGIN = datetime(2026, 1, 5, 15, tzinfo=UTC)
ACCOUNTS = [UUID(int=n) for n in (1, 2, 3)]
TERMS = Terms(SYMBOL, "USD", Decimal("0.01"), Decimal(1), Decimal(1), Decimal(0), Decimal("0.001"), Decimal("0.002"))
LATER = timedelta(minutes=50)


def some_steps(chance: Random, count: int) -> list[Any]:
    """Mostly orders that go, some that the venue refuses; what is done to them; facts. "later": time passes."""
    found: list[Any] = []
    placed: list[venue.PlaceVenueOrder] = []
    while len(found) < count:
        draw = chance.random()
        if draw < 0.6 or not placed:
            placed.append(a_placement(chance, len(placed) + 1))
            found.append(placed[-1] if chance.random() < 0.97 else chance.choice(placed))
        elif draw < 0.9:
            found.append(a_command(chance, chance.choice(placed[-15:])))
        elif draw < 0.97:
            found.append("later")
        elif draw < 0.99:
            found.append(fact(REFERENCE, Reference(SYMBOL, Decimal(chance.randint(97, 103)))))
        elif draw < 0.995:
            until = BEGIN + chance.random() * timedelta(hours=6)
            found.append(fact(CANCEL_AFTER, Cutoffs({str(chance.choice(ACCOUNTS)): until})))
        else:
            words = (chance.choice(("halted", "reducing")), "active")
            key = chance.choice((("symbol", SYMBOL), ALONE))
            found += [fact(STATE, State(key[0], key[1], word, 1, n)) for n, word in enumerate(words)]
    return found


def a_placement(chance: Random, number: int) -> venue.PlaceVenueOrder:
    def seldom(value: Any, otherwise: Any = None) -> Any:
        return value if chance.random() < 0.1 else otherwise

    order_type = chance.choice([OrderType.LIMIT] * 6 + list(OrderType))
    time_in_force = chance.choice([TimeInForce.GTC] * 8 + list(TimeInForce))
    is_trailing = order_type is OrderType.TRAILING_STOP
    has_stop = order_type not in {OrderType.MARKET, OrderType.LIMIT} and not is_trailing
    has_limit = order_type in {OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.LIMIT_IF_TOUCHED}
    quantity = chance.randint(2, 20)
    return venue.PlaceVenueOrder(
        venue_order_ref=UUID(int=number),
        account_id=chance.choice(ACCOUNTS),
        user_id=ACCOUNTS[0],
        command_sequence=1,
        send_by=None,
        symbol=SYMBOL,
        side=chance.choice(list(Side)),
        order_type=order_type,
        quantity=Decimal(quantity),
        limit_price=_price(chance) if has_limit else None,
        protection_price=None if has_limit or chance.random() < 0.5 else _price(chance),
        time_in_force=time_in_force,
        stop_price=_price(chance) if has_stop else None,
        trail_percent=Decimal("1.5") if is_trailing else None,
        display_quantity=seldom(Decimal(chance.randint(1, quantity))) if has_limit else None,
        minimum_quantity=seldom(Decimal(chance.randint(1, quantity))),
        expires_at=BEGIN + chance.random() * timedelta(hours=30) if time_in_force is TimeInForce.GTD else None,
        post_only=seldom(value=True, otherwise=False),
        reduce_only=seldom(value=True, otherwise=False),
        self_trade=seldom(chance.choice(list(SelfTrade))),
        oco_group=seldom(UUID(int=99)),
        parent_ref=seldom(UUID(int=number + chance.randint(1, 2))),
    )


def a_command(chance: Random, placed: venue.PlaceVenueOrder) -> Any:
    head: dict[str, Any] = {
        "account_id": placed.account_id,
        "user_id": placed.user_id,
        "command_sequence": 2,
        "symbol": SYMBOL,
    }
    which = chance.randint(1, 4)
    if which == 1:
        return venue.CancelVenueOrder(**head, venue_order_ref=placed.venue_order_ref, send_by=None)
    if which == 2:
        return venue.ReplaceVenueOrder(
            **head,
            venue_order_ref=placed.venue_order_ref,
            send_by=None,
            quantity=chance.choice([None, Decimal(chance.randint(1, 30))]),
            limit_price=chance.choice([None, _price(chance)]),
            stop_price=chance.choice([None, None, _price(chance)]),
        )
    if which == 3:
        others = tuple(UUID(int=chance.randint(1, 60)) for _ in range(2))
        return venue.QueryVenueOrders(**head, venue_order_refs=(placed.venue_order_ref, *others))
    return venue.QueryVenueOpenOrders(
        query_id=UUID(int=7),
        symbol=SYMBOL,
        after=chance.choice([None, placed.venue_order_ref]),
        since_trade_id=chance.choice([None, f"{SYMBOL}-{chance.randint(1, 20)}"]),
        most=chance.randint(2, 9),
    )


def _price(chance: Random) -> Decimal:
    return Decimal(chance.randint(97, 103))


PLAIN = venue.PlaceVenueOrder(
    venue_order_ref=UUID(int=1),
    account_id=ACCOUNTS[0],
    user_id=ACCOUNTS[0],
    command_sequence=1,
    send_by=None,
    symbol=SYMBOL,
    side=Side.BUY,
    order_type=OrderType.LIMIT,
    quantity=Decimal(1),
    limit_price=Decimal(90),
    protection_price=None,
    time_in_force=TimeInForce.GTC,
)


class Archived:
    """The archive in memory: what a machine put aside, and what the next command asks of it."""

    def __init__(self) -> None:
        self.ended: dict[str, EndedOrder] = {}
        self.fills: list[OrderFill] = []

    def keep(self, machine: VenueMachine, upto: int) -> None:
        self.ended |= machine.venue.ended
        self.fills += [fill for book in machine.venue.books.values() for fill in book.tape]
        machine.venue.archived(upto)

    def recall(self, machine: VenueMachine, message: Any) -> None:
        machine.venue.recalled = self.ended
        if isinstance(message, venue.QueryVenueOpenOrders) and message.since_trade_id is not None:
            since = trade_number(message.since_trade_id)
            found = [fill for fill in self.fills if fill.fill.trade >= since]
            found.sort(key=lambda one: (one.fill.trade, one.order_ref))
            machine.venue.recalled_fills = {(SYMBOL, since, message.most): found[: message.most + 1]}


def run(asked: list[Any], engine: str, snapshots_at: set[int]) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Everything said, and the state's hash after each step."""
    archive, said, hashes = Archived(), [], []

    def made() -> JournalPartition:
        machine = VenueMachine(engine_of(engine), 0)
        machine.venue.at_once = 3
        return JournalPartition(VENUE_INTERNAL_COMMANDS, 0, "matching-engine", 1, machine)

    journal, now = made(), BEGIN
    known = [fact(RULES, Rules(Decimal("0.2"), Decimal(10**9), 1_000, "cancel_newest")), fact(INSTRUMENT, TERMS)]
    for offset, step in enumerate([*known, "later", *asked]):
        machine: Any = journal.machine
        if offset in snapshots_at:
            archive.keep(machine, offset)
            content = journal.snapshot()
            journal = made()
            journal.restore(content)
            machine = journal.machine
        told: list[Fact] = []
        if step == "later":
            now += LATER
            session, book = session_of("XNYS", SYMBOL, now), machine.venue.books[SYMBOL]
            due_at = machine.due_at()
            told += [Fact(CLOCK, b"")] if due_at is not None and due_at <= now else []
            told += [fact(SESSION, session)] if session != book.session else []
        elif isinstance(step, Fact):
            told = [step]
        records = [record for one in journal.next_facts(told, now) for record in journal.learn(one)]
        if not told and step != "later":
            archive.recall(machine, step)
            records += journal.obey(record_of(step, journal.place.offset, now))
        said += [(r.topic, r.key, r.sequence, r.event_id, r.type, r.occurred_at, r.payload) for r in records]
        if SYMBOL in machine.venue.books:
            hashes.append(machine.venue.books[SYMBOL].exchange.state_hash())
    return said, hashes


@settings(max_examples=20)
@given(st.randoms(use_true_random=True), st.integers(20, 120), st.sets(st.integers(3, 120), max_size=4))
def test_the_same_is_said_whoever_says_it(chance: Random, count: int, snapshots_at: set[int]) -> None:
    asked = some_steps(chance, count)
    plain = run(asked, "naive", set())
    assert run(asked, "fast", snapshots_at) == plain
    assert reported_once(plain[0])


def test_a_session_ends_and_begins_with_an_auction() -> None:
    """at_close orders wait, trade at one price, what is left ends -> day orders expire -> only auctions -> at_open"""

    def order(number: int, side: Side, quantity: int, price: int, time_in_force: TimeInForce) -> venue.PlaceVenueOrder:
        return msgspec.structs.replace(
            PLAIN,
            venue_order_ref=UUID(int=number),
            account_id=ACCOUNTS[number % 3],
            side=side,
            quantity=Decimal(quantity),
            limit_price=Decimal(price),
            time_in_force=time_in_force,
        )

    until_closed, until_open = ["later"] * 8, ["later"] * 21
    steps = [
        order(1, Side.SELL, 3, 100, TimeInForce.AT_CLOSE),
        order(2, Side.BUY, 5, 102, TimeInForce.AT_CLOSE),
        order(3, Side.BUY, 1, 90, TimeInForce.DAY),
        *until_closed,
        order(4, Side.BUY, 1, 90, TimeInForce.GTC),
        order(5, Side.BUY, 2, 101, TimeInForce.AT_OPEN),
        order(6, Side.SELL, 2, 101, TimeInForce.AT_OPEN),
        *until_open,
        order(7, Side.BUY, 1, 90, TimeInForce.GTC),
    ]
    told = [
        (report.venue_order_ref.int, type(report).__name__.removeprefix("VenueOrder"), getattr(report, "code", None))
        for report in reports(run(steps, "naive", {12})[0])
        if not isinstance(report, venue.VenueOrderAccepted)
    ]
    assert told == [
        *((2, "Filled", None), (1, "Filled", None), (2, "Canceled", "auction"), (3, "Expired", None)),
        *((4, "Rejected", "market_closed"), (5, "Filled", None), (6, "Filled", None)),
    ]


def test_what_is_too_much_to_be_taken_out_at_once_is_taken_out_by_ticks() -> None:
    """mass cancel of five, two at a time -> one more comes meanwhile -> ticks take out the five and leave the new one"""
    machine = VenueMachine(engine_of("naive"), 0)
    machine.venue.at_once = 2
    journal = JournalPartition(VENUE_INTERNAL_COMMANDS, 0, "matching-engine", 1, machine)
    rules = Rules(Decimal("0.2"), Decimal(10**9), 1_000, "cancel_newest")

    def learned(*told: Fact) -> list[int]:
        said = [
            (r.topic, r.key, r.sequence, r.event_id, r.type, r.occurred_at, r.payload)
            for one in journal.next_facts(told, BEGIN)
            for r in journal.learn(one)
        ]
        return [report.venue_order_ref.int for report in reports(said) if isinstance(report, venue.VenueOrderCanceled)]

    learned(fact(RULES, rules), fact(INSTRUMENT, TERMS))
    for number in range(5):
        journal.obey(record_of(msgspec.structs.replace(PLAIN, venue_order_ref=UUID(int=number)), number, BEGIN))
    assert learned(fact(MASS_CANCEL, MassCancel(None, str(PLAIN.account_id), "an operator", "a test"))) == [0, 1]
    journal.obey(record_of(msgspec.structs.replace(PLAIN, venue_order_ref=UUID(int=5)), 5, BEGIN))
    ticks: list[list[int]] = []
    while (due_at := machine.due_at()) is not None and due_at <= BEGIN and len(ticks) < 9:
        ticks.append(learned(Fact(CLOCK, b"")))
    assert ticks == [[2, 3], [4]]
    assert [UUID(hex=ref).int for ref in machine.venue.books[SYMBOL].orders] == [5]


def test_on_a_replay_time_is_the_markets() -> None:
    """good till date ends by the market's time of the next command, however late it is on the wall; no rate is counted"""
    machine = VenueMachine(engine_of("naive"), 0)
    journal = JournalPartition(VENUE_INTERNAL_COMMANDS, 0, "matching-engine", 1, machine)
    rules = Rules(Decimal("0.2"), Decimal(10**9), 1, "cancel_newest", is_replay=True)
    for one in journal.next_facts([fact(RULES, rules), fact(INSTRUMENT, TERMS)], BEGIN):
        journal.learn(one)
    ends_at = datetime(2015, 1, 6, tzinfo=UTC)
    placed = msgspec.structs.replace(PLAIN, time_in_force=TimeInForce.GTD, expires_at=ends_at)
    found: list[type[Any]] = []
    for offset, (message, market_at) in enumerate(
        [(placed, ends_at - timedelta(days=1)), (msgspec.structs.replace(PLAIN, venue_order_ref=UUID(int=2)), ends_at)]
    ):
        record = msgspec.structs.replace(record_of(message, offset, BEGIN), market_at=market_at)
        said = [
            (r.topic, r.key, r.sequence, r.event_id, r.type, r.occurred_at, r.payload) for r in journal.obey(record)
        ]
        found += [type(report) for report in reports(said)]
    assert found == [venue.VenueOrderAccepted, venue.VenueOrderExpired, venue.VenueOrderAccepted]


async def test_the_archive_tells_what_was_known_at_that_place(make_database: Any) -> None:
    """listings in one batch or alone → the same; what was kept for a snapshot that was never stored → not there yet"""
    journal = JournalPartition(VENUE_INTERNAL_COMMANDS, 0, "matching-engine", 1, VenueMachine(engine_of("naive"), 0))
    rules = Rules(Decimal("0.2"), Decimal(10**9), 1_000, "cancel_newest")
    for one in journal.next_facts([fact(RULES, rules), fact(INSTRUMENT, TERMS)], BEGIN):
        journal.learn(one)
    orders = [
        msgspec.structs.replace(PLAIN, venue_order_ref=UUID(int=n), account_id=ACCOUNTS[n % 2], side=list(Side)[n % 2])
        for n in range(1, 9)
    ]
    later = msgspec.structs.replace(PLAIN, venue_order_ref=UUID(int=99), time_in_force=TimeInForce.IOC)
    listings = [
        venue.QueryVenueOpenOrders(
            query_id=UUID(int=since), symbol=SYMBOL, after=None, since_trade_id=f"{SYMBOL}-{since}", most=50
        )
        for since in (1, 3)
    ]
    async with Database(await make_database("matching-engine"), application_name="archive") as database:
        archive = PostgresArchive(database)

        async def obeyed(journal: JournalPartition, *messages: Any) -> list[tuple[Any, ...]]:
            records = [record_of(message, journal.place.offset + n, BEGIN) for n, message in enumerate(messages)]
            await archive.recall(journal.machine, records)
            return [(r.event_id, r.sequence, r.payload) for record in records for r in journal.obey(record)]

        await obeyed(journal, *orders)
        await archive.keep(journal.machine, journal.place.offset)
        content = journal.snapshot()
        together = await obeyed(journal, *listings)
        after = await obeyed(journal, later)
        await archive.keep(journal.machine, journal.place.offset)  # and the process is killed
        journal = JournalPartition(
            VENUE_INTERNAL_COMMANDS, 0, "matching-engine", 1, VenueMachine(engine_of("naive"), 0)
        )
        journal.restore(content)
        assert [said for one in listings for said in await obeyed(journal, one)] == together
        assert await obeyed(journal, later) == after


def reported_once(said: list[tuple[Any, ...]]) -> bool:
    """Of each order: nothing fills beyond its quantity, cumulative quantities rise, nothing follows its end."""
    filled: dict[UUID, Decimal] = {}
    ended: set[UUID] = set()
    for report in reports(said):
        ref = report.venue_order_ref
        if isinstance(report, venue.VenueOrderFilled):
            assert ref not in ended
            assert report.cumulative_quantity == filled.get(ref, 0) + report.last_quantity
            filled[ref] = report.cumulative_quantity
        elif isinstance(report, venue.VenueOrderCanceled | venue.VenueOrderExpired):
            assert ref not in ended
            assert report.cumulative_quantity == filled.get(ref, 0)
            ended.add(ref)
        elif isinstance(report, venue.VenueOrderState) and ref in ended:
            assert report.stand.value in {"canceled", "expired", "unknown"}
    return True


def reports(said: list[tuple[Any, ...]]) -> Iterator[venue.AnyVenueReport]:
    for *_, kind, _, payload in said:
        if kind == venue.VenueReports.type_name():
            yield from msgspec.json.decode(payload, type=venue.VenueReports).reports
