"""What the paper venue does with commands: at once on the simulated feed, at the next bar's open on a replay."""

from datetime import datetime
from uuid import UUID

from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.looking import look
from fleet_exchange_connector.domain.orders import (
    CancelOrder,
    ListQuery,
    OrderCommand,
    PlaceOrder,
    QueryOrders,
    Report,
    ReportKind,
    Stand,
    Status,
    rejected,
)
from fleet_exchange_connector.ports import BookListed, OrdersReported, OrderWork


async def place(work: OrderWork, command: PlaceOrder) -> None:
    """Takes an order, once: told again, the venue answers where it stands."""
    book, ref = work.book(command.symbol), command.venue_order_ref
    if work.known(ref) is not None or work.is_waiting(ref, command.account_id):
        reports = [await _state(work, command, ref)]
    elif book is not None and work.market is None:
        work.wait(command)
        return
    else:
        reports = look_now(work, command.symbol) + apply(work, book, command, market_time(work, command.symbol))
    _tell(work, command.symbol, reports)


async def cancel(work: OrderWork, command: CancelOrder) -> None:
    """Cancels are taken in every state of the fleet and at any time: a late one is still wanted."""
    book = work.book(command.symbol)
    if book is not None and work.market is None:
        work.wait(command)
        return
    reports = look_now(work, command.symbol) + apply(work, book, command, market_time(work, command.symbol))
    _tell(work, command.symbol, reports)


async def query(work: OrderWork, command: QueryOrders) -> None:
    """Answers at once; an order that waits for its bar is a working one."""
    reports = look_now(work, command.symbol)
    reports += [await _state(work, command, ref) for ref in command.venue_order_refs]
    _tell(work, command.symbol, reports)


async def list_open(work: OrderWork, command: ListQuery) -> None:
    """Answers from the book as it is in the order of commands; on a replay what waits for its bar is not in a book yet."""
    reports = look_now(work, command.symbol)
    _tell(work, command.symbol, reports)
    book = work.book(command.symbol)
    found = [] if book is None else book.listed()
    page = [order for order in found if command.after is None or order.venue_order_ref > command.after]
    some = page[: command.most]
    users = await work.users([order.venue_order_ref for order in some])
    fills, last = await work.fills_since(command.symbol, command.since_trade_id, command.most + 1)
    has_more_fills = len(fills) > command.most
    fills = fills[: command.most]
    work.publish(
        BookListed(
            query_id=command.query_id,
            symbol=command.symbol,
            market_at=market_time(work, command.symbol),
            orders=[(order, users[order.venue_order_ref]) for order in some],
            has_more_orders=len(page) > len(some),
            fills=fills,
            has_more_fills=has_more_fills,
            last_trade_id=fills[-1].venue_trade_id if fills else last,
        )
    )


async def watch(work: OrderWork, symbol: str) -> None:
    """Time has passed: the book looks at the price."""
    _tell(work, symbol, look_now(work, symbol))


def look_now(work: OrderWork, symbol: str) -> list[Report]:
    """What the price has done to the symbol's orders up to now, recorded."""
    book = work.book(symbol)
    if book is None or work.market is None:
        return []
    reports = look(book, work.market, work.now)
    work.record(symbol, reports)
    return reports


def apply(work: OrderWork, book: Book | None, command: OrderCommand, market_at: datetime) -> list[Report]:
    """The command's effect on its book, recorded; the last gate before a venue is here."""
    match command:
        case PlaceOrder():
            work.add(command)
            refusal = _refusal(work, command, market_at)
            if refusal is not None or book is None:
                refused = refusal or rejected(command, "unknown_symbol", "This venue does not trade it.", market_at)
                reports = [refused]
            else:
                reports = book.place(command, market_at, now=work.now)
        case CancelOrder() if book is None:
            status = Status(stand=Stand.UNKNOWN, code="unknown_order", detail="There is no such open order here.")
            reports = [
                Report(
                    kind=ReportKind.CANCEL_REJECTED,
                    venue_order_ref=command.venue_order_ref,
                    account_id=command.account_id,
                    market_at=market_at,
                    status=status,
                )
            ]
        case CancelOrder():
            assert book is not None
            reports = book.cancel(command, market_at, now=work.now)
    work.record(command.symbol, reports)
    return reports


def market_time(work: OrderWork, symbol: str) -> datetime:
    """The time of what happens to the symbol now: on a replay that of its last bar."""
    book = work.book(symbol)
    if work.market is None and book is not None and book.version:
        return book.market_at
    return work.now if book is None else max(work.now, book.market_at)


def _refusal(work: OrderWork, command: PlaceOrder, market_at: datetime) -> Report | None:
    if command.send_by is not None and work.now > command.send_by:
        detail = f"It should have been sent by {command.send_by.isoformat()}."
        return rejected(command, "too_late", detail, market_at)
    if work.is_halted(command.symbol, command.account_id):
        return rejected(command, "market_halted", "Trading is halted.", market_at)
    return None


async def _state(work: OrderWork, command: PlaceOrder | QueryOrders, ref: UUID) -> Report:
    """Where an order of the account stands, with all its fills."""
    known = work.known(ref)
    if known is not None and known.account_id == command.account_id:
        status, fills = known.status, await work.fills(ref)
    else:
        is_waiting = work.is_waiting(ref, command.account_id)
        status, fills = Status(stand=Stand.WORKING if is_waiting else Stand.UNKNOWN), ()
    return Report(
        kind=ReportKind.STATE,
        venue_order_ref=ref,
        account_id=command.account_id,
        market_at=market_time(work, command.symbol),
        status=status,
        fills=fills,
    )


def _tell(work: OrderWork, symbol: str, reports: list[Report]) -> None:
    if reports:
        work.publish(OrdersReported(symbol, reports))
