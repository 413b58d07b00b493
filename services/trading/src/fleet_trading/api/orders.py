"""`/orders`: what is asked for goes through the group committer; what is read comes straight from the database."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request
from fleet_bus import Overloaded
from fleet_chassis.assertions import Caller
from fleet_chassis.ids import first_id_of, new_id
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import TRADE, ReadCaller, TradeCaller
from fleet_chassis.problems import Problem, problem_body, unavailable
from fleet_chassis.requests import request_id_of
from fleet_chassis.shapes import FastJSON, Instant, Symbol
from fleet_contracts import trading as shown
from starlette.responses import Response

from fleet_trading.domain import Order, TradingState
from fleet_trading.domain.exact import tidy
from fleet_trading.domain.waiting import waits_for as why_it_waits
from fleet_trading.events import first_view, order_view
from fleet_trading.ports import account_key
from fleet_trading.service.orders import (
    ORDER_PATH_SLOW,
    Cancellation,
    Changing,
    OrderCommand,
    Outcome,
    Refused,
    Replacement,
    Submission,
    Submitted,
    touches,
)

from .bodies import (
    BATCHES,
    CHANGES,
    CLIENT_ORDER_ID,
    EXAMPLES,
    BatchBody,
    OrderBody,
    ParsedOrder,
    ReplaceBody,
    parse_batch,
    parse_order,
    parse_replace,
)
from .context import ReadAccount, Service, Trading, key_of, own_order, problem_of, trading_of
from .documents import answers, page_of, takes

CANCEL_GROUP = 500
"""Orders cancelled in one transaction by DELETE /orders."""


class BatchItem(msgspec.Struct, omit_defaults=True):
    """One order's outcome: `order` or `problem`."""

    status: int
    order: shown.Order | None = None
    problem: dict[str, Any] | None = None


router = APIRouter(prefix="/api/v1/orders", tags=["orders"])


@router.post(
    "",
    status_code=201,
    response_class=FastJSON,
    responses=answers(201, shown.Order, "The order is accepted, and on its way."),
    openapi_extra=takes(OrderBody, EXAMPLES),
)
@TRADE.guards
async def post_order(request: Request, caller: Caller) -> Response:
    """Places an order, with its legs if it has a class. A denial is 422 with the code of the check, and leaves an order
    with status `denied` and no legs."""
    trading = trading_of(request)
    order = parse_order(await _json(request))
    submission = await _submission(trading, caller, order)
    _can_judge(trading, submission)
    outcome = await _committed(trading, [submission])
    return _answer(outcome[0])


@router.post(
    "/batch",
    status_code=207,
    response_class=FastJSON,
    responses=answers(207, list[BatchItem], "The outcome of each order, in the order asked."),
    openapi_extra=takes(BatchBody, BATCHES),
)
@TRADE.guards
async def post_batch(request: Request, caller: Caller) -> Response:
    """Places 1 to 500 orders, each accepted or refused by itself."""
    trading = trading_of(request)
    items: list[BatchItem | None] = []
    submissions: list[Submission] = []
    for raw in parse_batch(await _json(request)):
        try:
            submissions.append(await _submission(trading, caller, parse_order(raw)))
            items.append(None)
        except Problem as problem:
            items.append(_problem_item(request, problem))
    _can_judge(trading, *submissions)
    committed = await _committed(trading, submissions)
    if committed and all(isinstance(o, Refused) and o.reason is ORDER_PATH_SLOW for o in committed):
        raise _slow_path()
    outcomes = iter(committed)
    return FastJSON([_item(request, next(outcomes)) if item is None else item for item in items], 207)


class Previewed(msgspec.Struct):
    """`estimated_cost` at its limit or stop price, else at the price of the market, below 0 for a sale; `estimated_fee` the
    highest on that. What is not known is null."""

    accepted: bool
    reasons: list[shown.Reason]
    estimated_cost: Decimal | None
    estimated_fee: Decimal | None
    buying_power_after: Decimal | None


@router.post(
    "/preview",
    response_class=FastJSON,
    responses=answers(200, Previewed, "What would become of the order."),
    openapi_extra=takes(OrderBody, EXAMPLES),
)
@TRADE.guards
async def post_preview(request: Request, caller: Caller) -> Response:
    """Says whether an order would be accepted, all that is against it, and what it would cost. Nothing is kept of it."""
    trading = trading_of(request)
    submission = await _submission(trading, caller, parse_order(await _json(request)))
    _can_judge(trading, submission)
    async with trading.bus.transaction() as tx:
        uow = trading.unit(tx)
        await uow.lock(touches(submission))
        await trading.desk.prepare(uow, submission)
        found = trading.desk.preview(uow, submission)
    if isinstance(found, Refused):
        raise problem_of(found.reason)
    answer = Previewed(
        accepted=not found.reasons,
        reasons=[shown.Reason(code=reason.code, detail=reason.detail) for reason in found.reasons],
        estimated_cost=None if found.cost is None else tidy(found.cost),
        estimated_fee=None if found.fee is None else tidy(found.fee),
        buying_power_after=None if found.buying_power_after is None else tidy(found.buying_power_after),
    )
    return FastJSON(answer)


def _can_judge(trading: Trading, *submissions: Submission) -> None:
    """Raises Problem 503 until the market is known, as no denial would be true; but what is halted, by a state that was
    kept, is denied whatever the market is."""
    if trading.knows_the_market:
        return
    for asked in submissions:
        state = trading.market.state(asked.symbol, asked.venue or "", asked.account_id)
        if state is not TradingState.HALTED:
            raise _market_unknown()


def _market_unknown() -> Problem:
    return unavailable("Instruments and prices are still being read; try again.")


def _slow_path() -> Problem:
    return Problem(503, ORDER_PATH_SLOW.code, ORDER_PATH_SLOW.detail, headers={"Retry-After": "1"})


async def _json(request: Request) -> bytes:
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("application/json"):
        raise Problem(415, "unsupported_media_type", "The body must be application/json.")
    return await request.body()


async def _submission(trading: Trading, caller: Caller, order: ParsedOrder) -> Submission:
    return Submission(
        account_id=await trading.account_of(caller, order.account_id),
        user_id=caller.user_id,
        client_order_id=order.client_order_id or str(new_id()),
        symbol=order.symbol,
        side=order.side,
        type=order.type,
        quantity=order.quantity,
        limit_price=order.limit_price,
        time_in_force=order.time_in_force,
        venue=order.venue,
        algo=order.algo,
        terms=order.terms,
        notional=order.notional,
        key=key_of(caller),
    )


async def _committed(trading: Trading, commands: Sequence[OrderCommand]) -> list[Outcome]:
    if not commands:
        return []
    try:
        return await trading.committer.submit_all(commands)
    except Overloaded as error:
        raise _slow_path() from error


def _denial(outcome: Outcome) -> Problem | None:
    if isinstance(outcome, Refused):
        if outcome.is_denial:
            return Problem(422, outcome.reason.code, outcome.reason.detail)
        return _slow_path() if outcome.reason is ORDER_PATH_SLOW else problem_of(outcome.reason)
    if isinstance(outcome, Submitted) and outcome.denial is not None:
        headers = {"Idempotent-Replayed": "true"} if outcome.is_replay else {}
        return Problem(422, outcome.denial.code, outcome.denial.detail, headers=headers)
    return None


def _answer(outcome: Outcome) -> Response:
    problem = _denial(outcome)
    if problem is not None:
        raise problem
    assert isinstance(outcome, Submitted)
    headers = {"Location": f"/api/v1/orders/{outcome.order.order_id}"}
    if outcome.is_replay:
        headers["Idempotent-Replayed"] = "true"
    return FastJSON(first_view(outcome.order), 201, headers)


def _item(request: Request, outcome: Outcome) -> BatchItem:
    problem = _denial(outcome)
    if problem is not None:
        return _problem_item(request, problem)
    if isinstance(outcome, Changing):
        return BatchItem(202, order_view(outcome.order))
    assert isinstance(outcome, Submitted)
    return BatchItem(201, first_view(outcome.order))


def _problem_item(request: Request, problem: Problem) -> BatchItem:
    body = problem_body(problem, instance=request.url.path, request_id=request_id_of(request.scope))
    return BatchItem(problem.status, problem=body)


@router.get("", response_class=FastJSON, responses=answers(200, page_of(shown.Order), "Newest first."))
async def get_orders(
    *,
    account_id: ReadAccount,
    caller: ReadCaller,
    trading: Service,
    status: Literal["open", "closed", "all"] = "all",
    symbol: Annotated[Symbol | None, Query()] = None,
    client_order_id: Annotated[str | None, Query(max_length=64, pattern=CLIENT_ORDER_ID)] = None,
    start: Annotated[Instant | None, Query(description="Placed at that time or later.")] = None,
    end: Annotated[Instant | None, Query(description="Placed before that time.")] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The account's orders, newest first."""
    found: list[Order]
    if client_order_id is not None:
        named = await trading.readings.order_named(account_id, client_order_id)
        found = [named] if named is not None and _matches(named, status, symbol, start, end) else []
    else:
        before = None if cursor is None else decode_cursor(cursor, UUID)[0]
        found = await trading.readings.orders(
            account_id,
            user_id=caller.user_id,
            status=status,
            symbol=symbol,
            start=start,
            end=end,
            before=before,
            limit=limit + 1,
        )
    page = Page[Any].of(found, limit, lambda order: (order.order_id,))
    data = [_view(trading, order) for order in page.data]
    return FastJSON({"data": data, "next_cursor": page.next_cursor, "has_more": page.has_more})


def _matches(order: Order, status: str, symbol: str | None, start: datetime | None, end: datetime | None) -> bool:
    is_in_time = (start is None or order.order_id >= first_id_of(start)) and (
        end is None or order.order_id < first_id_of(end)
    )
    return is_in_time and (status == "all" or order.is_open == (status == "open")) and symbol in (None, order.symbol)


@router.get("/{order_id}", response_class=FastJSON, responses=answers(200, shown.Order, "The order as it stands."))
async def get_order(order_id: str, caller: ReadCaller, trading: Service) -> Response:
    """One order."""
    return FastJSON(_view(trading, await own_order(trading, caller, order_id)))


def _view(trading: Trading, order: Order) -> shown.Order:
    """As it stands, and why it rests if the market is why."""
    market = trading.market
    waits_for = why_it_waits(
        order,
        instrument=market.instrument(order.symbol),
        reference=market.reference(order.symbol),
        state=market.state(order.symbol, order.venue, order.account_id),
        now=None if trading.settings.feed == "replay" else trading.bus.clock.now(),
    )
    return order_view(order, waits_for=waits_for)


@router.delete(
    "/{order_id}",
    status_code=202,
    response_class=FastJSON,
    responses=answers(202, shown.Order, "The order, its cancel on its way to the venue."),
)
async def delete_order(order_id: str, caller: TradeCaller, trading: Service) -> Response:
    """Asks for the order to be cancelled; the venue has the last word. Said twice, it is asked once."""
    order = await own_order(trading, caller, order_id)
    (outcome,) = await _committed(trading, [Cancellation(order.account_id, caller.user_id, order.order_id)])
    return _asked(outcome)


def _asked(outcome: Outcome) -> Response:
    problem = _denial(outcome)
    if problem is not None:
        raise problem
    assert isinstance(outcome, Changing)
    return FastJSON(order_view(outcome.order), 202)


@router.patch(
    "/{order_id}",
    status_code=202,
    response_class=FastJSON,
    responses=answers(202, shown.Order, "The order, its change on its way to the venue."),
    openapi_extra=takes(ReplaceBody, CHANGES),
)
async def patch_order(order_id: str, request: Request, caller: TradeCaller, trading: Service) -> Response:
    """Asks for the order to be changed; the venue has the last word. What more it may cost is reserved before; the larger
    of old and new stays reserved until the venue has answered. Said twice, it is asked once; one change at a time."""
    wanted = parse_replace(await _json(request))
    order = await own_order(trading, caller, order_id)
    key = key_of(caller)
    if key is not None and not key.allows(order.symbol):
        raise Problem(422, "restricted_symbol", f"{order.symbol} may not be traded.")
    command = Replacement(
        account_id=order.account_id,
        user_id=caller.user_id,
        order_id=order.order_id,
        quantity=wanted.quantity,
        limit_price=wanted.limit_price,
        stop_price=wanted.stop_price,
        expected_version=wanted.expected_version,
        key=key,
    )
    if not trading.knows_the_market:
        raise _market_unknown()
    (outcome,) = await _committed(trading, [command])
    return _asked(outcome)


@router.delete(
    "",
    status_code=207,
    response_class=FastJSON,
    responses=answers(207, list[BatchItem], "The outcome of each open order."),
)
async def delete_orders(
    request: Request,
    caller: TradeCaller,
    trading: Service,
    account_id: Annotated[UUID | None, Query()] = None,
    symbol: Annotated[Symbol | None, Query()] = None,
) -> Response:
    """Asks for all open orders of the account to be cancelled, or those of a symbol."""
    account = await trading.account_of(caller, account_id)
    items: list[BatchItem] = []
    while True:
        async with trading.bus.transaction() as tx:
            uow = trading.unit(tx)
            await uow.lock([account_key(account)])
            outcomes = await trading.desk.cancel_all(uow, account, caller.user_id, symbol=symbol, limit=CANCEL_GROUP)
            await uow.flush()
        if isinstance(outcomes, Refused):
            raise problem_of(outcomes.reason)
        items += [_item(request, outcome) for outcome in outcomes]
        if len(outcomes) < CANCEL_GROUP:
            return FastJSON(items, 207)
