"""What the paper venue does with commands: at once on the simulated feed, at the next bar's open on a replay."""

from datetime import datetime
from functools import cache
from itertools import islice
from uuid import UUID

from fleet_simulator import Side

from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.looking import look
from fleet_exchange_connector.domain.orders import (
    CancelOrder,
    ListQuery,
    OrderCommand,
    PlaceOrder,
    QueryOrders,
    ReplaceOrder,
    Report,
    ReportKind,
    Restriction,
    Stand,
    Status,
    refused,
)
from fleet_exchange_connector.ports import BookListed, OrdersReported, OrderWork


async def place(work: OrderWork, command: PlaceOrder) -> None:
    """Takes an order, once: told again, the venue answers where it stands."""
    book, ref = work.book(command.symbol), command.venue_order_ref
    reports = look_now(work, command.symbol)
    if work.known(ref) is not None or work.is_waiting(ref, command.account_id):
        reports.append(await _state(work, command, ref))
    elif book is not None and (work.market is None or work.has_latency):
        work.wait(command)
    else:
        reports += apply(work, book, command, market_time(work, command.symbol))
    _tell(work, command.symbol, reports)


def change(work: OrderWork, command: ReplaceOrder | CancelOrder) -> None:
    """Cancels are taken in every state of the fleet and at any time: a late one is still wanted."""
    book = work.book(command.symbol)
    if book is not None and (work.market is None or work.has_latency):
        work.wait(command)
        return
    reports = look_now(work, command.symbol) + apply(work, book, command, market_time(work, command.symbol))
    _tell(work, command.symbol, reports)


async def arrive(work: OrderWork, symbol: str) -> None:
    """What was on its way is done as if it had come now."""
    reports: list[Report] = []
    for command in await work.take_arrived(symbol):
        if isinstance(command, PlaceOrder) and work.known(command.venue_order_ref) is not None:
            continue  # it was told again after a start without the latency, and arrived at once
        reports += look_now(work, symbol)
        reports += apply(work, work.book(symbol), command, market_time(work, symbol))
    _tell(work, symbol, reports)


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
    found = [] if book is None else list(islice(book.listed(command.after), command.most + 1))
    some = found[: command.most]
    held = [] if book is None else book.positions(command.positions_after, command.most + 1)
    users = await work.users([order.venue_order_ref for order in some])
    since = command.since_trade_id
    found_fills = [] if since is None else await work.fills_since(command.symbol, since, command.most + 1)
    fills = found_fills[: command.most]
    work.publish(
        BookListed(
            query_id=command.query_id,
            symbol=command.symbol,
            market_at=market_time(work, command.symbol),
            orders=[(order, users[order.venue_order_ref]) for order in some],
            has_more_orders=len(found) > len(some),
            fills=fills,
            has_more_fills=len(found_fills) > len(fills),
            last_trade_id=fills[-1].venue_trade_id if fills else await work.last_trade_id(command.symbol),
            positions=held[: command.most],
            has_more_positions=len(held) > command.most,
        )
    )


def cancel_forbidden(work: OrderWork, symbol: str, most: int) -> bool:
    """Takes out so many of what is open and may not be, whoever placed it and whether execution knows of it or not.
    Whether there may be more."""
    book = work.book(symbol)
    if book is None:
        return False
    is_halted = cache(lambda account_id: work.restriction(symbol, account_id) is Restriction.HALTED)

    def code_of(account_id: UUID, accepted_at: datetime) -> str | None:
        if is_halted(account_id):
            return "market_halted"
        return "cancel_after" if work.is_cut_off(account_id, accepted_at) else None

    reports = look_now(work, symbol)
    canceled = book.take_out(code_of, most, market_time(work, symbol), now=work.now)
    work.record(symbol, canceled)
    _tell(work, symbol, reports + canceled)
    return len(canceled) >= most


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
    reports = _decided(work, book, command, market_at)
    if isinstance(command, PlaceOrder):
        work.add(command)
    work.record(command.symbol, reports)
    return reports


def _decided(work: OrderWork, book: Book | None, command: OrderCommand, market_at: datetime) -> list[Report]:
    if book is None:
        return [refused(command, "unknown_symbol" if isinstance(command, PlaceOrder) else "unknown_order", market_at)]
    match command:
        case CancelOrder():
            return book.cancel(command, market_at, now=work.now)
        case ReplaceOrder():
            code = _refusal(work, command, increases=book.increases(command.venue_order_ref))
            return [refused(command, code, market_at)] if code else book.replace(command, market_at, now=work.now)
        case PlaceOrder():
            increases = command.side is Side.BUY and not command.reduce_only
            code = _refusal(work, command, increases=increases) or _is_over(work, command, market_at)
            if code:
                return book.refuse(command, code, market_at, now=work.now)
            return book.place(command, market_at, now=work.now)


def market_time(work: OrderWork, symbol: str) -> datetime:
    """The time of what happens to the symbol now: on a replay that of its last bar."""
    book = work.book(symbol)
    if work.market is None and book is not None and book.version:
        return book.market_at
    return work.now if book is None else max(work.now, book.market_at)


def _refusal(work: OrderWork, command: PlaceOrder | ReplaceOrder, *, increases: bool) -> str | None:
    if command.send_by is not None and work.now > command.send_by:
        return "too_late"
    restriction = work.restriction(command.symbol, command.account_id)
    if restriction is Restriction.HALTED:
        return "market_halted"
    return "market_reducing" if restriction is Restriction.REDUCING and increases else None


def _is_over(work: OrderWork, command: PlaceOrder, market_at: datetime) -> str | None:
    """Whether its time, or its account's, or the order that it would wait for, has ended before it came."""
    if command.said_at is not None and work.is_cut_off(command.account_id, command.said_at):
        return "cancel_after"
    # On a replay it ends within its first bar, before that fills it.
    if work.market is not None and command.expires_at is not None and command.expires_at <= market_at:
        return "already_expired"
    parent = None if command.parent_ref is None else work.known(command.parent_ref)
    return "parent_ended" if parent is not None and parent.status.stand is not Stand.WORKING else None


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
