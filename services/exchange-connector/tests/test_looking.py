"""A book that follows the simulated market: what it does never depends on when it happened to look."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.instruments import offered
from fleet_exchange_connector.domain.looking import look, next_look
from fleet_exchange_connector.domain.market import Market
from fleet_exchange_connector.domain.orders import PlaceOrder, Report, ReportKind, Stand
from fleet_exchange_connector.domain.times import minute_of
from fleet_exchange_connector.store.stocks import first_prices
from fleet_simulator import OrderType, Side, TimeInForce, models_of
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

OPENED = datetime(2026, 1, 5, 23, 59, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 6, tzinfo=UTC)
SYMBOL = "AAPL/USD"


def a_market() -> Market:
    instruments = offered("simulated")
    minute = minute_of(OPENED)
    return Market(instruments, 3, 150, minute, minute, 0, first_prices(instruments), OPENED)


def a_book(**models: str) -> Book:
    return Book(offered("simulated")[SYMBOL], models_of(**models))  # type: ignore[arg-type]


def an_order(
    number: int, side: Side, offset: int, tif: TimeInForce = TimeInForce.GTC, kind: str = "limit", **changed: Any
) -> PlaceOrder:
    """A price so many cents above the opening ask (or below the opening bid, for a sell): the limit's, or for a stop as
    far on the other side. A trailing stop trails by as much."""
    quote = a_market().quote(SYMBOL, OPENED)
    assert quote is not None
    away = 100 * offset if kind in ("limit", "market_if_touched") else -100 * offset
    price = (quote.ask + away if side is Side.BUY else quote.bid - away) * Decimal("0.0001")
    prices: dict[str, Any] = {
        "limit": {"limit_price": price},
        "stop": {"stop_price": price},
        "stop_limit": {"stop_price": price, "limit_price": price},
        "market_if_touched": {"stop_price": price},
        "trailing_stop": {"trail_amount": (abs(offset) + 1) * Decimal("0.01")},
        "trailing_ppm": {"trail_percent": (abs(offset) + 1) * Decimal("0.003")},
        "market": {},
    }[kind]
    fields = {"limit_price": None, **prices, **changed}
    if tif is TimeInForce.GTD:
        fields["expires_at"] = OPENED + timedelta(milliseconds=1001 * (offset + 70))
    return PlaceOrder(
        venue_order_ref=UUID(int=number),
        account_id=UUID(int=1),
        user_id=UUID(int=2),
        command_sequence=number,
        send_by=None,
        symbol=SYMBOL,
        side=side,
        order_type=OrderType.TRAILING_STOP if kind == "trailing_ppm" else OrderType(kind),
        quantity=Decimal(1),
        protection_price=None,
        time_in_force=tif,
        **fields,
    )


KINDS = ["limit", "limit", "stop", "stop_limit", "market_if_touched", "trailing_stop", "trailing_ppm"]
AUCTIONS = [TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE]
QUANTITIES = st.sampled_from([1, 1, 1_500])
"""The most is more than most quotes show."""
Drawn = tuple[Side, int, TimeInForce, str]
orders = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(Side),
            st.integers(-60, 5),
            st.sampled_from([TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD]),
            st.sampled_from(KINDS),
        ),
        st.tuples(
            st.sampled_from(Side),
            st.integers(-60, 5),
            st.sampled_from(AUCTIONS),
            st.sampled_from(["limit", "market"]),
        ),
    ),
    min_size=1,
    max_size=6,
)


def placed_of(drawn: list[Drawn], quantity: int) -> list[PlaceOrder]:
    """Each with a child that is sent before it."""
    found = []
    for n, (side, offset, tif, kind) in enumerate(drawn):
        other = Side.SELL if side is Side.BUY else Side.BUY
        parent = UUID(int=2 * n + 2)
        found += [
            an_order(2 * n + 1, other, offset, kind="limit" if n % 2 else "trailing_stop", parent_ref=parent),
            an_order(2 * n + 2, side, offset, tif, kind),
        ]
    return [replace(order, quantity=Decimal(quantity)) for order in found]


def run(
    placed: list[PlaceOrder], looks: list[datetime], closed_at: datetime | None = None
) -> list[tuple[UUID, ReportKind, datetime, Decimal | None]]:
    """What is told when the book looks at these times; the minute is closed at `closed_at`."""
    market, book = a_market(), a_book(volume_share="1")
    found: list[Report] = look(book, market, OPENED)
    for order in placed:
        found += book.place(order, OPENED, now=OPENED)
    for at in looks:
        if closed_at is not None and at >= closed_at:
            market, closed_at = market.close_minute(closed_at)[1], None
        found += look(book, market, at)
    told = [(r.venue_order_ref, r.kind, r.market_at, r.fill.price if r.fill else None) for r in found]
    return sorted(told, key=lambda t: (t[2], t[0], t[1]))


@settings(max_examples=40)
@given(orders, QUANTITIES, st.lists(st.integers(1, 1199), max_size=8), st.integers(600, 1199))
def test_fills_do_not_depend_on_when_the_book_looks(
    drawn: list[Drawn], quantity: int, tenths: list[int], closed: int
) -> None:
    placed = placed_of(drawn, quantity)
    end = OPENED + timedelta(seconds=119.95)
    often = [OPENED + n * timedelta(milliseconds=400) for n in range(1, 300)] + [end]
    seldom = [OPENED + n * timedelta(milliseconds=100) for n in sorted(tenths)] + [end]
    told = run(placed, often)
    assert run(placed, seldom) == told
    assert run(placed, seldom, OPENED + closed * timedelta(milliseconds=100)) == told
    for ref, kind, at, _ in told:
        order = placed[ref.int - 1]
        if kind is ReportKind.FILLED and order.time_in_force is TimeInForce.DAY:
            assert at <= MIDNIGHT
        if kind is ReportKind.FILLED and order.time_in_force in AUCTIONS:
            assert at == MIDNIGHT
        if kind is ReportKind.EXPIRED:
            assert at == (order.expires_at or MIDNIGHT)


@settings(max_examples=30)
@given(orders, QUANTITIES)
def test_looking_when_told_to_misses_nothing(drawn: list[Drawn], quantity: int) -> None:
    placed = placed_of(drawn, quantity)
    market, book = a_market(), a_book(volume_share="1")
    look(book, market, OPENED)
    for order in placed:
        book.place(order, OPENED, now=OPENED)
    now, end, looks = OPENED, OPENED + timedelta(seconds=119.95), []
    while (at := next_look(book, market, now)) is not None and at <= end:
        assert at > now
        now = at
        looks.append(at)
        look(book, market, now)
    told = run(placed, [OPENED + n * timedelta(milliseconds=400) for n in range(1, 300)] + [end])
    assert run(placed, [*looks, end], OPENED + timedelta(minutes=1)) == told
    causes = {at for _, _, at, _ in told} - {OPENED}
    # A limit that takes quote after quote is looked at once more, for the one that does not reach it.
    most = len(causes) + 2 + (len(placed) if quantity > 1 else 0)
    assert len(looks) <= most, "no look for a price that only moves a trailing stop along"


def test_a_trailing_stop_that_fires_is_looked_at_then_and_once_a_minute_until_then() -> None:
    market, book = a_market(), a_book()
    look(book, market, OPENED)
    book.place(an_order(1, Side.SELL, 900, kind="trailing_stop"), OPENED, now=OPENED)
    assert next_look(book, market, OPENED) == MIDNIGHT
    assert book.take_changed() == []
    look(book, market, MIDNIGHT)
    closed = market.close_minute(MIDNIGHT)[1]
    assert [status.stand for _, status in book.take_changed()] == [Stand.WORKING], "its mark has moved: saved once"
    assert next_look(book, closed, MIDNIGHT) == MIDNIGHT + timedelta(minutes=1)


def test_a_million_lots_fill_by_what_each_quote_shows_and_no_more() -> None:
    """Whoever else has the book look meanwhile, as commands do: a quote's size is taken once."""
    market, book = a_market(), a_book(volume_share="1")
    look(book, market, OPENED)
    order = replace(an_order(1, Side.BUY, 0, kind="market"), quantity=Decimal(1_000_000))
    found = book.place(order, OPENED, now=OPENED)
    for tenth in range(1, 400):
        found += look(book, market, OPENED + tenth * timedelta(milliseconds=100))
    fills = [report.fill for report in found if report.fill]
    quotes = [market.quote(SYMBOL, OPENED + n * market.stretch) for n in range(100)]
    shown = [(Decimal(quote.ask_size), Decimal(quote.ask).scaleb(-4)) for quote in quotes if quote]
    assert [(fill.quantity, fill.price) for fill in fills] == shown
    assert book.open_orders == 1


def test_a_day_order_ends_with_the_utc_day_whenever_the_book_looks() -> None:
    placed = [an_order(1, Side.BUY, -5_000, TimeInForce.DAY), an_order(2, Side.BUY, -5_000)]
    market, book = a_market(), a_book()
    look(book, market, OPENED)
    for order in placed:
        book.place(order, OPENED, now=OPENED)
    assert next_look(book, market, OPENED) == MIDNIGHT
    (expired,) = look(book, market, MIDNIGHT + timedelta(seconds=30))
    assert (expired.venue_order_ref, expired.kind) == (placed[0].venue_order_ref, ReportKind.EXPIRED)
    assert (expired.market_at, expired.status.stand) == (MIDNIGHT, Stand.EXPIRED)
    assert book.open_orders == 1


def test_nothing_fills_while_the_feed_is_paused_until_it_is_stepped() -> None:
    market, book = a_market().pause(), a_book()
    now = OPENED + timedelta(seconds=1)
    assert look(book, market, now) == []
    order = an_order(1, Side.BUY, 5)
    assert [r.kind for r in book.place(order, now, now=now)] == [ReportKind.ACCEPTED]
    assert look(book, market, now + timedelta(seconds=1)) == []
    assert next_look(book, market, now) is None
    closed, stepped = market.show_step(now + timedelta(seconds=2))
    assert closed is None, "the minute is not over"
    (fill,) = look(book, stepped, now + timedelta(seconds=3))
    assert fill.kind is ReportKind.FILLED
    assert fill.market_at == now + timedelta(seconds=2)
    later = an_order(2, Side.BUY, 5)
    accepted = book.place(later, now + timedelta(seconds=3), now=now)
    assert [r.kind for r in accepted] == [ReportKind.ACCEPTED], "the stepped price is gone again"


def test_what_was_quoted_during_a_pause_fills_nothing() -> None:
    market, book = a_market(), a_book()
    look(book, market, OPENED)
    book.place(an_order(1, Side.BUY, -1), OPENED, now=OPENED)
    everything = run([an_order(1, Side.BUY, -1)], [OPENED + timedelta(seconds=119.95)])
    (filled_at,) = (at for _, kind, at, _ in everything if kind is ReportKind.FILLED)
    resumed = market.pause().resume(filled_at + timedelta(milliseconds=1))
    found = look(book, resumed, OPENED + timedelta(seconds=119.95))
    assert all(report.market_at > filled_at for report in found)


def test_a_book_is_the_same_after_its_rows_are_read_again() -> None:
    market, book = a_market(), a_book()
    look(book, market, OPENED)
    placed = [an_order(1, Side.BUY, -20), an_order(2, Side.SELL, -20, TimeInForce.DAY), an_order(3, Side.BUY, 5)]
    reports = [report for order in placed for report in book.place(order, OPENED, now=OPENED)]
    assert reports[-1].status.stand is Stand.FILLED
    again = a_book()
    states = [book.order_state(order.venue_order_ref) for order in placed]
    assert states[2] is None
    again.restore(5, book.state(), [state for state in states if state], {})
    end = OPENED + timedelta(seconds=100)
    assert look(again, market, end) == look(book, market, end)
    assert (again.state(), again.open_orders, again.version) == (book.state(), book.open_orders, 5)
