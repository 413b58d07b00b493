"""Accounts, ledger, trades, positions, portfolio: read, never decided."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID, uuid5

import msgspec
from fastapi import APIRouter, Query
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import ReadCaller
from fleet_chassis.shapes import FastJSON, Symbol
from fleet_contracts import trading as shown
from starlette.responses import Response

from fleet_trading.domain import Account
from fleet_trading.domain.exact import tidy
from fleet_trading.events import account_view, balance_view, portfolio_view, position_view, trade_view
from fleet_trading.service.orders import ACCOUNT_NOT_FOUND

from .context import ReadAccount, Service, Trading, problem_of
from .documents import answers, page_of

router = APIRouter(prefix="/api/v1", tags=["accounts"])


class LedgerEntry(msgspec.Struct, frozen=True):
    """The client's side of an entry; `amount` is signed, `balance_after` of its currency."""

    entry_id: UUID
    at: datetime
    market_at: datetime
    kind: str
    amount: Decimal
    currency: str
    balance_after: Decimal
    reference: str
    settles_on: date


def _page(page: Page[Any], data: list[Any]) -> Response:
    return FastJSON({"data": data, "next_cursor": page.next_cursor, "has_more": page.has_more})


@router.get(
    "/accounts", response_class=FastJSON, responses=answers(200, page_of(shown.Account), "The default account first.")
)
async def get_accounts(
    caller: ReadCaller, trading: Service, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """The user's accounts; the first request opens the default one."""
    await trading.account_of(caller, None)
    after = None if cursor is None else decode_cursor(cursor, UUID)[0]
    found = await trading.readings.accounts_of(caller.user_id, after=after, limit=limit + 1)
    page = Page[Any].of(found, limit, lambda account: (account.account_id,))
    return _page(page, [account_view(account) for account in page.data])


@router.get(
    "/accounts/{account_id}/ledger",
    response_class=FastJSON,
    responses=answers(200, page_of(LedgerEntry), "Newest first."),
)
async def get_ledger(
    account_id: str, caller: ReadCaller, trading: Service, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """Every change of the account's balances, newest first."""
    try:
        account = await trading.account_of(caller, UUID(account_id))
    except ValueError as error:
        raise problem_of(ACCOUNT_NOT_FOUND) from error
    before = None if cursor is None else decode_cursor(cursor, int)[0]
    found = await trading.readings.ledger(account, before=before, limit=limit + 1)
    page = Page[Any].of(found, limit, lambda entry: (entry["entry_no"],))
    return _page(page, [_entry(account, entry) for entry in page.data])


@router.get(
    "/accounts/{account_id}/balances",
    response_class=FastJSON,
    responses=answers(200, page_of(shown.Balance), "In the order of currencies."),
)
async def get_balances(account_id: str, caller: ReadCaller, trading: Service) -> Response:
    """What the account has of each currency; all on one page, as there are no more than assets traded."""
    try:
        account = await _account(trading, await trading.account_of(caller, UUID(account_id)))
    except ValueError as error:
        raise problem_of(ACCOUNT_NOT_FOUND) from error
    data = [
        balance_view(currency, account.balances[currency], account.version) for currency in sorted(account.balances)
    ]
    return FastJSON({"data": data, "next_cursor": None, "has_more": False})


def _entry(account_id: UUID, entry: dict[str, Any]) -> LedgerEntry:
    return LedgerEntry(
        entry_id=uuid5(account_id, str(entry["entry_no"])),
        at=entry["at"],
        market_at=entry["market_at"],
        kind=entry["kind"],
        amount=tidy(entry["amount"]),
        currency=entry["currency"],
        balance_after=tidy(entry["balance_after"]),
        reference=entry["reference"],
        settles_on=entry["settles_on"],
    )


@router.get("/trades", response_class=FastJSON, responses=answers(200, page_of(shown.Trade), "Newest first."))
async def get_trades(
    *,
    account_id: ReadAccount,
    trading: Service,
    symbol: Annotated[Symbol | None, Query()] = None,
    order_id: Annotated[UUID | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The account's fills, newest first."""
    before = None if cursor is None else decode_cursor(cursor, int)[0]
    found = await trading.readings.trades(account_id, symbol=symbol, order_id=order_id, before=before, limit=limit + 1)
    page = Page[Any].of(found, limit, lambda item: (item[0].trade_no,))
    return _page(page, [trade_view(trade, version) for trade, version in page.data])


@router.get(
    "/positions", response_class=FastJSON, responses=answers(200, page_of(shown.Position), "In the order of symbols.")
)
async def get_positions(
    account_id: ReadAccount, trading: Service, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """What the account holds, and what it has realised where it holds nothing any more."""
    account = await _account(trading, account_id)
    after = "" if cursor is None else decode_cursor(cursor, str)[0]
    found = [symbol for symbol in sorted(account.positions) if symbol > after]
    page = Page[Any].of(found, limit, lambda symbol: (symbol,))
    views = [position_view(s, account.positions[s], trading.market, account.version) for s in page.data]
    return _page(page, views)


@router.get(
    "/portfolio", response_class=FastJSON, responses=answers(200, shown.Portfolio, "At the marks of this moment.")
)
async def get_portfolio(account_id: ReadAccount, trading: Service) -> Response:
    """What the account is worth now."""
    account = await _account(trading, account_id)
    return FastJSON(portfolio_view(account, trading.market, trading.bus.clock.now()))


async def _account(trading: Trading, account_id: UUID) -> Account:
    account = await trading.readings.account(account_id)
    if account is None:
        raise problem_of(ACCOUNT_NOT_FOUND)
    return account
