"""The books, for everybody; taking orders out, for operators."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from fleet_bus import Bus, JournalReading, tell_acted
from fleet_chassis.assertions import Caller
from fleet_chassis.clock import Clock
from fleet_chassis.permissions import ReadCaller, service_caller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Body, DecimalString, Level, Resource, Symbol
from fleet_contracts.audit import Change
from fleet_contracts.matching_engine import BookLevel
from fleet_contracts.topics import MATCHING_ENGINE_AUDIT
from pydantic import Field, TypeAdapter, ValidationError

from fleet_matching_engine import events
from fleet_matching_engine.domain.book import SymbolBook
from fleet_matching_engine.domain.rules import MASS_CANCEL, VENUE, MassCancel
from fleet_matching_engine.replicas import Replicas
from fleet_matching_engine.service import VenueMachine, fact

_SYMBOL: TypeAdapter[str] = TypeAdapter(Symbol)
Depth = Annotated[int, Query(ge=1, le=1_000)]


class BookShown(Resource):
    """What rests in a book: levels of [price, quantity], the best first. `sequence` is that of its latest delta."""

    symbol: str
    venue: str
    bids: list[Level]
    asks: list[Level]
    last_price: DecimalString | None
    orders: int
    sequence: int
    checksum: int
    as_of: datetime


class MassCancelBody(Body):
    """Whose open orders are taken out: of a symbol, of an account, of both; all of them where neither is named."""

    symbol: Symbol | None = None
    account_id: UUID | None = None
    by: str = Field(min_length=1, max_length=100)
    reason: str = Field(min_length=1, max_length=500)


class MassCanceled(Resource):
    """`partitions`: those of the venue on which it was done, which are those of the instance that was asked.

    `is_known`: whether the symbol is traded here; null where none is named or its book is not kept by this instance."""

    partitions: list[int]
    is_known: bool | None


def books_router(journal: JournalReading, clock: Clock, replicas: Replicas) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/books", tags=["books"])

    @routes.get("/{symbol}", response_model=BookShown)
    async def show_book(symbol: str, _caller: ReadCaller, depth: Depth = 50) -> BookShown | Response:
        """The order book of the internal venue, from whichever instance keeps it. 503 while none does."""
        known = _known(symbol)
        book = _book(journal, known)
        if book is not None:
            return _shown(book, clock, depth)
        answer = await replicas.book(known, depth)
        if answer is None:
            raise _not_here()
        if not answer.is_success:
            raise _unknown(symbol)
        return Response(answer.body, media_type="application/json")

    return routes


def internal_books_router(journal: JournalReading, clock: Clock) -> APIRouter:
    """What the instances ask each other."""
    routes = APIRouter(
        prefix="/internal", include_in_schema=False, dependencies=[Depends(service_caller("matching-engine"))]
    )

    @routes.get("/books/{symbol}")
    async def show_book(symbol: str, depth: Depth = 50) -> BookShown:
        book = _book(journal, _known(symbol))
        if book is None:
            raise _not_here()
        return _shown(book, clock, depth)

    return routes


def operators_router(journal: JournalReading, bus: Bus) -> APIRouter:
    routes = APIRouter(prefix="/internal", include_in_schema=False)
    operator = Depends(service_caller("core-engine", "cli"))

    @routes.post("/mass-cancel")
    async def mass_cancel(body: MassCancelBody, caller: Annotated[Caller, operator]) -> MassCanceled:
        account_id = None if body.account_id is None else str(body.account_id)
        async with bus.transaction() as tx:
            named = (("symbol", body.symbol), ("account_id", account_id))
            changes = [Change(name=name, after=value) for name, value in named if value is not None]
            by, target = f"{caller.issuer}:{body.by}", f"venue:{VENUE}"
            tell_acted(tx, MATCHING_ENGINE_AUDIT, "orders.mass_canceled", target, *changes, by=by, reason=body.reason)
        told = MassCancel(body.symbol, account_id, body.by, body.reason)
        partitions = await journal.tell(fact(MASS_CANCEL, told))
        machine: Any = None if body.symbol is None else journal.machine(body.symbol)
        return MassCanceled(
            partitions=partitions, is_known=None if machine is None else body.symbol in machine.venue.books
        )

    return routes


def _known(symbol: str) -> str:
    try:
        return _SYMBOL.validate_python(symbol)
    except ValidationError:
        raise _unknown(symbol) from None


def _book(journal: JournalReading, symbol: str) -> SymbolBook | None:
    """None where this instance does not keep the symbol's partition."""
    machine: Any = journal.machine(symbol)
    if machine is None:
        return None
    assert isinstance(machine, VenueMachine)
    book = machine.venue.books.get(symbol)
    if book is None:
        raise _unknown(symbol)
    return book


def _shown(book: SymbolBook, clock: Clock, depth: int) -> BookShown:
    shown = events.snapshot(book, clock.now(), depth)
    return BookShown(
        symbol=shown.symbol,
        venue=VENUE,
        bids=[_pair(level) for level in shown.bids],
        asks=[_pair(level) for level in shown.asks],
        last_price=book.scale.price(book.price) if book.price else None,
        orders=len(book.orders),
        sequence=shown.sequence,
        checksum=shown.checksum,
        as_of=shown.market_at,
    )


def _not_here() -> Problem:
    return Problem(503, "book_not_here", "The book is being taken over. Try again.", headers={"Retry-After": "1"})


def _unknown(symbol: str) -> Problem:
    return Problem(404, "not_found", f"The internal venue does not trade {symbol}.")


def _pair(level: BookLevel) -> tuple[Any, Any]:
    return level.price, level.quantity
