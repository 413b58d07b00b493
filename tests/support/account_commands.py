"""An account of trading's domain, and the commands that tests give it."""

from datetime import UTC, date, datetime
from decimal import Decimal as D
from typing import NamedTuple
from uuid import UUID

from fleet_simulator import OrderType, Side, TimeInForce
from fleet_trading.domain import (
    Account,
    Adjust,
    Book,
    Conditions,
    EntryKind,
    Event,
    Instrument,
    OrderDenied,
    OrderPlaced,
    PlaceOrder,
    Reference,
    ReportFill,
    TradingState,
    apply,
    decide,
)
from fleet_trading.domain.risk.open_buys import may_add

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
USER, ACCOUNT = UUID(int=1), UUID(int=2)
RATE = D("0.001")
AAPL = Instrument(
    symbol="AAPL/USD",
    base="AAPL",
    quote="USD",
    tick=D("0.0001"),
    lot=D(1),
    min_quantity=D(1),
    min_notional=D(1),
    highest_fee=RATE,
    venues=("paper",),
    venue="paper",
)


def conditions(**changed: object) -> Conditions:
    given_: dict[str, object] = {
        "now": NOW,
        "market_at": NOW,
        "instrument": AAPL,
        "reference": Reference(D("99.99"), D("100.01"), D(100), NOW, False),
        "state": TradingState.ACTIVE,
        "protection_factor": D("1.05"),
        "query_at": None,
    }
    return Conditions(**(given_ | changed))  # type: ignore[arg-type]


def an_account(usd: object = 100_000) -> Account:
    account = Account(
        account_id=ACCOUNT,
        user_id=USER,
        name="Paper",
        kind="paper",
        base_currency="USD",
        is_default=True,
        created_at=NOW,
    )
    done(
        account,
        Adjust(
            transaction_id=UUID(int=3),
            kind=EntryKind.DEPOSIT,
            currency="USD",
            amount=D(str(usd)),
            source="s",
            now=NOW,
            market_at=NOW,
        ),
    )
    return account


def an_order(
    number: int = 10, side: Side = Side.BUY, quantity: object = 10, limit: object = None, **more: object
) -> PlaceOrder:
    fields: dict[str, object] = {
        "order_id": UUID(int=number),
        "client_order_id": f"c{number}",
        "account_id": ACCOUNT,
        "user_id": USER,
        "symbol": "AAPL/USD",
        "side": side,
        "type": OrderType.MARKET if limit is None else OrderType.LIMIT,
        "quantity": D(str(quantity)),
        "limit_price": None if limit is None else D(str(limit)),
        "time_in_force": TimeInForce.GTC,
        "conditions": conditions(),
    }
    return PlaceOrder(**(fields | more))  # type: ignore[arg-type]


def a_fill(order: int, trade: int, quantity: object, price: object, charged: object = 0, **more: object) -> ReportFill:
    fields: dict[str, object] = {
        "order_id": UUID(int=order),
        "trade_id": UUID(int=trade),
        "venue": "paper",
        "venue_trade_id": str(trade),
        "quantity": D(str(quantity)),
        "price": D(str(price)),
        "fee": D(str(charged)),
        "fee_currency": "USD",
        "liquidity": "taker",
        "executed_at": NOW,
        "market_at": NOW,
        "now": NOW,
        "user_id": USER,
    }
    return ReportFill(**(fields | more))  # type: ignore[arg-type]


class Entry(NamedTuple):
    """What of a row of `entries` the models add up."""

    entry_no: int
    transaction_id: UUID
    book: Book
    currency: str
    amount: D
    balance_after: D | None
    settles_on: date


def entries_of(account: Account) -> list[Entry]:
    """The unwritten entries, each by itself, as the database keeps them."""
    found: list[Entry] = []
    for posting in account.changes.postings:
        for no, _, currency, amount, after, against in posting.pairs:
            for at, book, change, balance in ((no, Book.CLIENT, amount, after), (no + 1, against, -amount, None)):
                found.append(Entry(at, posting.transaction_id, book, currency, change, balance, posting.settles_on))
    return found


def done(account: Account, command: object) -> list[Event]:
    events = decide(account, command)  # type: ignore[arg-type]
    for event in events:
        apply(account, event)
    return events


def denial(account: Account, command: PlaceOrder) -> str | None:
    (event,) = decide(account, command)
    if isinstance(event, OrderDenied):
        assert event.order.status == "denied"
        assert event.order.reason is not None
        return event.order.reason.code
    assert isinstance(event, OrderPlaced)
    return None


def assert_open_buys_add_up(account: Account) -> None:
    """What is kept up with each change is what all open orders add up to."""
    found = [may_add(order, account.orders) for order in account.orders.values()]
    assert account.open_buys.of(account.orders, None) == (
        sum((each.quantity for each in found), D(0)),
        sum((each.notional for each in found), D(0)),
    )
