"""What an account is worth, was worth and is made of; and its statement of a day."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import asyncpg
import msgspec
from fastapi import APIRouter, Query
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import ReadCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Day, FastJSON, Instant
from starlette.responses import Response, StreamingResponse

from fleet_trading.domain.exact import tidy
from fleet_trading.domain.portfolio import allocation
from fleet_trading.service.orders import ACCOUNT_NOT_FOUND

from .context import ReadAccount, Service, Trading, problem_of
from .documents import answers, page_of

router = APIRouter(prefix="/api/v1", tags=["portfolio"])

_LINES = 1_000
"""Entries of a statement read at once."""
_COLUMNS = ("market_at", "booked_at", "kind", "reference", "currency", "amount", "balance", "settles_on")


class Worth(msgspec.Struct, frozen=True):
    """`time_weighted_return`: since the account was opened or reset, of deposits, withdrawals and transfers unmoved."""

    at: datetime
    equity: Decimal
    cash: Decimal
    time_weighted_return: Decimal


class HoldingNow(msgspec.Struct, frozen=True):
    """`weight` of the equity. `is_stale`: the mark is too old to be trusted, or there is none."""

    currency: str
    symbol: str
    quantity: Decimal
    mark_price: Decimal | None
    mark_at: datetime | None
    is_stale: bool
    value: Decimal
    weight: Decimal | None


class AllocationNow(msgspec.Struct, frozen=True):
    account_id: UUID
    as_of: datetime
    equity: Decimal
    cash_weight: Decimal | None
    gross_exposure: Decimal
    net_exposure: Decimal
    time_weighted_return: Decimal
    holdings: list[HoldingNow]
    version: int


@router.get(
    "/portfolio/allocation",
    response_class=FastJSON,
    responses=answers(200, AllocationNow, "At the marks of this moment, the largest holding first."),
)
async def get_allocation(account_id: ReadAccount, trading: Service) -> Response:
    """What the account is made of, how much it is exposed, and what it has earned since its beginning."""
    account = await trading.readings.account(account_id)
    if account is None:
        raise problem_of(ACCOUNT_NOT_FOUND)
    found = allocation(account, trading.market)
    growth = await trading.readings.growth(account_id)
    holdings = []
    for holding in found.holdings:
        reference = trading.market.reference(holding.symbol)
        holdings.append(
            HoldingNow(
                currency=holding.currency,
                symbol=holding.symbol,
                quantity=tidy(holding.quantity),
                mark_price=holding.mark_price,
                mark_at=None if reference is None else reference.market_at,
                is_stale=trading.market.is_stale(holding.symbol),
                value=tidy(holding.value),
                weight=holding.weight,
            )
        )
    view = AllocationNow(
        account_id=account_id,
        as_of=trading.bus.clock.now(),
        equity=tidy(found.equity),
        cash_weight=found.cash_weight,
        gross_exposure=tidy(found.gross_exposure),
        net_exposure=tidy(found.net_exposure),
        time_weighted_return=_return(Decimal(1) if growth is None else growth.at(found.equity)),
        holdings=holdings,
        version=account.version,
    )
    return FastJSON(view)


def _return(growth: Decimal) -> Decimal:
    return tidy(growth - 1)


@router.get(
    "/portfolio/history",
    response_class=FastJSON,
    responses=answers(200, page_of(Worth), "Newest first. By the hour for 30 days, by the day for ever."),
)
async def get_history(
    *,
    account_id: ReadAccount,
    trading: Service,
    timeframe: Annotated[Literal["1h", "1d"], Query()] = "1d",
    start: Annotated[Instant | None, Query()] = None,
    end: Annotated[Instant | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The equity curve: of each hour or day (UTC, of the market's time) the last that was seen. What had not changed is
    not repeated."""
    before = None if cursor is None else decode_cursor(cursor, datetime)[0]
    found = await trading.readings.history(account_id, timeframe, start=start, end=end, before=before, limit=limit + 1)
    page = Page[Any].of(found, limit, lambda row: (row["bucket_at"],))
    data = [Worth(row["at"], tidy(row["equity"]), tidy(row["cash"]), _return(row["growth"])) for row in page.data]
    return FastJSON({"data": data, "next_cursor": page.next_cursor, "has_more": page.has_more})


@router.get(
    "/accounts/{account_id}/statements/{day}",
    response_class=Response,
    responses={200: {"description": "What there was, what was booked, what there is.", "content": {"text/csv": {}}}},
)
async def get_statement(account_id: UUID, day: Day, caller: ReadCaller, trading: Service) -> Response:
    """A day's statement (UTC, of the market's time) as CSV: the opening balances, each entry with the balance after it, the
    closing balances."""
    await trading.account_of(caller, account_id)
    if day > trading.market.day():
        raise Problem(404, "statement_not_found", f"That day has not come yet, was {day}.")
    start = datetime.combine(day, time(), UTC)
    end = start + timedelta(days=1)
    sums = await trading.readings.day_of_ledger(account_id, start, end)
    name = f"statement-{day}-{account_id}.csv"
    return StreamingResponse(
        _lines(trading, account_id, start, end, sums),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


async def _lines(
    trading: Trading, account_id: UUID, start: datetime, end: datetime, sums: list[asyncpg.Record]
) -> AsyncIterator[str]:
    balances = {row["currency"]: row["opening"] for row in sums}
    opening = [("", "", "opening", "", currency, "", _plain(amount), "") for currency, amount in balances.items()]
    yield _csv([_COLUMNS, *opening])
    after = min((row["first"] for row in sums if row["first"] is not None), default=1) - 1
    last = max((row["last"] for row in sums if row["last"] is not None), default=0)
    while after < last:
        rows = await trading.readings.entries_between(account_id, start, end, after=after, last=last, limit=_LINES)
        lines = []
        for row in rows:
            balances[row["currency"]] += row["amount"]
            times = (_instant(row["market_at"]), _instant(row["at"]))
            figures = (_plain(row["amount"]), _plain(balances[row["currency"]]), row["settles_on"])
            lines.append((*times, row["kind"], row["reference"], row["currency"], *figures))
        yield _csv(lines)
        after = rows[-1]["entry_no"] if len(rows) == _LINES else last
    yield _csv([("", "", "closing", "", row["currency"], "", _plain(row["closing"]), "") for row in sums])


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _plain(amount: Decimal) -> str:
    return f"{tidy(amount):f}"


def _csv(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
