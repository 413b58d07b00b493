"""A book of the paper venue and the rows that its unit of work would write, with builders of its commands."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from fleet_exchange_connector.domain.bars import Bar
from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.instruments import offered
from fleet_exchange_connector.domain.market import Quote
from fleet_exchange_connector.domain.orders import CancelOrder, PlaceOrder, ReplaceOrder, Report, ReportKind
from fleet_simulator import Models, OrderType, Side, TimeInForce, models_of

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
SYMBOL = "AAPL/USD"
INSTRUMENT = offered("simulated")[SYMBOL]
SECOND = timedelta(seconds=1)
K = ReportKind
Row = dict[str, Any]


def ref(number: int) -> UUID:
    return UUID(int=number)


def order(number: int, side: Side = Side.BUY, **changed: Any) -> PlaceOrder:
    """An order of 10 at the market; `limit_price` or `stop_price` alone say its type."""
    types = {"limit_price": OrderType.LIMIT, "stop_price": OrderType.STOP, "trail_amount": OrderType.TRAILING_STOP}
    fields: dict[str, Any] = {
        "venue_order_ref": ref(number),
        "account_id": ref(1000),
        "user_id": ref(2000),
        "command_sequence": number,
        "send_by": None,
        "symbol": SYMBOL,
        "side": side,
        "order_type": next((kind for name, kind in types.items() if name in changed), OrderType.MARKET),
        "quantity": Decimal(10),
        "limit_price": None,
        "protection_price": None,
        "time_in_force": TimeInForce.GTC,
    }
    fields.update(changed)
    prices = ("limit_price", "protection_price", "stop_price", "trail_amount", "trail_percent")
    amounts = (*prices, "quantity", "display_quantity", "minimum_quantity")
    fields.update({name: Decimal(str(fields[name])) for name in amounts if fields.get(name) is not None})
    return PlaceOrder(**fields)


def replacing(number: int, **changed: Any) -> ReplaceOrder:
    given = {name: Decimal(str(value)) for name, value in changed.items()}
    return ReplaceOrder(
        venue_order_ref=ref(number),
        account_id=ref(1000),
        user_id=ref(2000),
        command_sequence=0,
        send_by=None,
        symbol=SYMBOL,
        quantity=given.get("quantity"),
        limit_price=given.get("limit_price"),
        stop_price=given.get("stop_price"),
    )


def canceling(number: int) -> CancelOrder:
    return CancelOrder(
        venue_order_ref=ref(number), account_id=ref(1000), user_id=ref(2000), command_sequence=0, symbol=SYMBOL
    )


@dataclass
class Stored:
    """A book, and the rows of it that the unit of work would write after each cause."""

    models: Models = field(default_factory=models_of)
    book: Book = field(init=False)
    at: datetime = AT
    state: dict[str, Any] = field(default_factory=dict)
    rows: dict[UUID, Row] = field(default_factory=dict)
    held: dict[UUID, Decimal] = field(default_factory=dict)
    unreported: int = 0
    standing: Quote | None = None

    def __post_init__(self) -> None:
        self.book = Book(INSTRUMENT, self.models)

    def quote(self, price: float, spread: float = 0.02) -> list[Report]:
        """A second later the bid is `price`, the ask `spread` above it."""
        self.at += SECOND
        bid, ask = (INSTRUMENT.scale.ticks(Decimal(str(each))) for each in (price, round(price + spread, 4)))
        self.standing = Quote(self.at, bid, 100, ask, 100)
        return self._kept(self.book.show(self.standing, self.at, now=self.at))

    def look_again(self) -> list[Report]:
        """A second later the quote stands that stood before; nothing if none did."""
        self.at += SECOND
        return self._kept(self.book.show(self.standing, self.at, now=self.at)) if self.standing else []

    def bar(self, opened: float, high: float, low: float, close: float) -> list[Report]:
        """A day later: opened at `self.at`, closed six hours after it."""
        self.at, self.standing = self.at + timedelta(days=1), None
        shown = {"open": opened, "high": high, "low": low, "close": close, "volume": 1000}
        prices: Any = {name: Decimal(str(value)) for name, value in shown.items()}
        return self._kept(self.book.show_bar(Bar(SYMBOL, self.at, self.closed_at, **prices), now=AT))

    @property
    def closed_at(self) -> datetime:
        return self.at + timedelta(hours=6)

    def does(self, *commands: PlaceOrder | ReplaceOrder | CancelOrder) -> list[Report]:
        found: list[Report] = []
        for command in commands:
            match command:
                case PlaceOrder():
                    found += self.book.place(command, self.at, now=self.at)
                case ReplaceOrder():
                    found += self.book.replace(command, self.at, now=self.at)
                case CancelOrder():
                    found += self.book.cancel(command, self.at, now=self.at)
        return self._kept(found)

    def end_session(self) -> list[Report]:
        return self._kept(self.book.end_session(self.at, now=self.at))

    def restored(self) -> Book:
        book = Book(INSTRUMENT, self.models)
        held = {account_id: quantity for account_id, quantity in self.held.items() if quantity}
        book.restore(self.book.version, self.state, list(self.rows.values()), held)
        return book

    def _kept(self, reports: list[Report]) -> list[Report]:
        changed = {r.venue_order_ref for r in reports if r.kind not in (K.CANCEL_REJECTED, K.REPLACE_REJECTED)}
        silent = {changed_ref for changed_ref, _ in self.book.take_changed()}
        self.unreported += len(silent - changed)
        for each in changed | silent:
            row = self.book.order_state(each)
            if row is None:
                self.rows.pop(each, None)
            else:
                self.rows[each] = row
        for report in reports:
            if report.fill is not None:
                self.held[report.account_id] = self.book.position(report.account_id)
        self.state = self.book.state()
        return reports


def told(reports: Iterable[Report]) -> list[tuple[int, str]]:
    """What was said of which order, with the code of it."""
    found = []
    for report in reports:
        code = report.change.code if report.change else report.status.code
        found.append((report.venue_order_ref.int, f"{report.kind}:{code}" if code else str(report.kind)))
    return found


def bracket(parent: int = 1, **changed: Any) -> list[PlaceOrder]:
    """As execution sends it: the legs first. Bought at the market, out at 110 or 90."""
    own = {"parent_ref": ref(parent), "oco_group": ref(parent + 500)}
    legs = [order(parent + 1, Side.SELL, limit_price=110, **own), order(parent + 2, Side.SELL, stop_price=90, **own)]
    return [*legs, order(parent, **changed)]
