"""What an account risks, and the limits it is held to."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query
from fleet_chassis.assertions import Caller
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import ReadCaller, TradeCaller
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import Body, DecimalString, FastJSON, Symbol
from fleet_contracts.vocabulary import Role
from pydantic import Field, TypeAdapter, ValidationError
from starlette.responses import Response

from fleet_trading.domain.exact import tidy
from fleet_trading.domain.portfolio import allocation
from fleet_trading.domain.risk import limits as risk
from fleet_trading.domain.risk.limits import PROHIBITIONS, Scope, SetAs
from fleet_trading.domain.risk.usage import usages
from fleet_trading.ports import account_key
from fleet_trading.service.orders import ACCOUNT_NOT_FOUND
from fleet_trading.service.risk import set_limits
from fleet_trading.store.limits import LimitChange, Selection

from .context import ReadAccount, Service, Trading, key_of, problem_of
from .documents import answers, page_of

router = APIRouter(prefix="/api/v1/risk", tags=["risk"])

_SYMBOL: TypeAdapter[str] = TypeAdapter(Symbol)


class UsedLimit(msgspec.Struct, frozen=True):
    """`symbol` where the limit counts per symbol."""

    name: str
    symbol: str | None
    limit: Decimal
    used: Decimal


class RiskView(msgspec.Struct, frozen=True):
    """At the marks of this moment. `leverage` and `concentration` (the largest position) are parts of the equity, null
    where there is none. `var_95`, `var_99` and `expected_shortfall`: null, as no model of the market's moves measures them
    yet. `good_faith_violations`: of the last 365 days."""

    account_id: UUID
    gross_exposure: Decimal
    net_exposure: Decimal
    leverage: Decimal | None
    var_95: Decimal | None
    var_99: Decimal | None
    expected_shortfall: Decimal | None
    concentration: Decimal | None
    good_faith_violations: int
    limits: tuple[UsedLimit, ...]
    as_of: datetime
    version: int


class SetLimit(msgspec.Struct, frozen=True):
    """`limit` null: it was taken away. `set_by` null: it came with the platform."""

    scope: str
    target: str | None
    name: str
    limit: Decimal | None
    set_as: str
    set_by: UUID | None
    set_at: datetime


class LimitsBody(Body):
    """A limit that is null is taken away; those that are not named stay."""

    scope: Scope = Field(examples=["account"])
    target: str | None = Field(default=None, max_length=64)
    limits: dict[risk.Limit, Annotated[DecimalString, Field(ge=0)] | None] = Field(
        min_length=1, examples=[{"max_order_notional": "10000"}]
    )


@router.get("", response_class=FastJSON, responses=answers(200, RiskView, "At the marks of this moment."))
async def get_risk(account_id: ReadAccount, trading: Service) -> Response:
    """The account's exposure, and how much of its limits it uses."""
    found = await trading.readings.risk(account_id)
    if found is None:
        raise problem_of(ACCOUNT_NOT_FOUND)
    account, table = found
    market = trading.market

    def limits_of(symbol: str | None) -> risk.Values:
        return table.of(account.roles, account.limits.values(), symbol=symbol)

    exposed = allocation(account, market)
    view = RiskView(
        account_id=account_id,
        gross_exposure=tidy(exposed.gross_exposure),
        net_exposure=tidy(exposed.net_exposure),
        leverage=None if exposed.leverage is None else tidy(exposed.leverage),
        var_95=None,
        var_99=None,
        expected_shortfall=None,
        concentration=None if exposed.concentration is None else tidy(exposed.concentration),
        good_faith_violations=account.risk.violations_by(market.day()),
        limits=tuple(
            UsedLimit(usage.limit.value, usage.symbol, tidy(usage.allowed), tidy(usage.used))
            for usage in usages(account, limits_of, market, market.day())
        ),
        as_of=trading.bus.clock.now(),
        version=account.version,
    )
    return FastJSON(view)


def _shown(
    caller: ReadCaller,
    account_id: ReadAccount,
    scope: Scope | None = None,
    target: Annotated[str | None, Query(max_length=64)] = None,
) -> Selection:
    account = (Scope.ACCOUNT, str(account_id))
    if "admin" not in caller.scopes:
        if scope is not None or target is not None:
            caller.require_scope("admin")
        roles = ((Scope.ROLE, role) for role in sorted(caller.roles))
        return Selection(((Scope.SYSTEM, ""), *roles, account), (Scope.SYMBOL,))
    if scope is None:
        return Selection((account,), (Scope.SYSTEM, Scope.ROLE, Scope.SYMBOL, Scope.STRATEGY, Scope.API_KEY))
    return Selection((), (scope,)) if target is None else Selection(((scope, target),))


Shown = Annotated[Selection, Depends(_shown)]
"""Which limits a GET is about."""


@router.get("/limits", response_class=FastJSON, responses=answers(200, page_of(SetLimit), "The last one set first."))
async def get_limits(
    selection: Shown, trading: Service, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """The limits that may hold for the account's orders: of the same name, the tightest does. An admin sees those of any
    `scope` and `target`."""
    return await _page(trading, selection, limit, cursor, is_history=False)


@router.get(
    "/limits/history", response_class=FastJSON, responses=answers(200, page_of(SetLimit), "The last change first.")
)
async def get_limits_history(
    selection: Shown, trading: Service, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Response:
    """The changes of these limits, with who and when: an admin's all, of an owner's own the last 100 of each limit."""
    return await _page(trading, selection, limit, cursor, is_history=True)


@router.put(
    "/limits", response_class=FastJSON, responses=answers(200, page_of(SetLimit), "The limits of the target now.")
)
async def put_limits(body: LimitsBody, caller: TradeCaller, trading: Service) -> Response:
    """Sets limits. An owner may tighten his own account, and with a login loosen what he set himself (an API key: 403
    `session_required`); all else takes the scope `admin`."""
    _check_values(body.limits)
    target = await _target(trading, caller, body.scope, body.target)
    set_as = SetAs.ADMIN if "admin" in caller.scopes else SetAs.OWNER
    async with trading.bus.transaction() as tx:
        uow = trading.unit(tx)
        await uow.lock([account_key(UUID(target))] if body.scope is Scope.ACCOUNT else [])
        refused = await set_limits(
            uow,
            scope=body.scope,
            target=target,
            set_as=set_as,
            values=body.limits,
            by=caller.user_id,
            is_by_key=key_of(caller) is not None,
        )
        await uow.flush()
    if refused is not None:
        raise Problem(403, refused.code, refused.detail)
    return await _page(trading, Selection(((body.scope, target),)), DEFAULT_LIMIT, None, is_history=False)


def _check_values(limits: Mapping[risk.Limit, Decimal | None]) -> None:
    for name, value in limits.items():
        if name in PROHIBITIONS and value:
            raise _invalid(f"limits.{name}", "must be 0, or null to take it away")


def _invalid(field: str, message: str) -> Problem:
    return Problem(422, "invalid_request", f"{field} {message}.", errors=[FieldError(field, message, "value_error")])


async def _target(trading: Trading, caller: Caller, scope: Scope, target: str | None) -> str:
    is_admin = "admin" in caller.scopes
    if scope is Scope.ACCOUNT:
        account_id = None if target is None else _uuid(target)
        if account_id is None or not is_admin:
            return str(await trading.account_of(caller, account_id))
        if await trading.readings.owner_of(account_id) is None:
            raise problem_of(ACCOUNT_NOT_FOUND)
        return str(account_id)
    caller.require_scope("admin")
    if (target is None) != (scope is Scope.SYSTEM):
        raise _invalid("target", "is what every scope but system needs")
    match scope:
        case Scope.STRATEGY | Scope.API_KEY:
            return str(_uuid(target or ""))
        case Scope.SYMBOL:
            try:
                return _SYMBOL.validate_python(target)
            except ValidationError as error:
                raise _invalid("target", "must be a symbol such as AAPL/USD") from error
        case Scope.ROLE if target not in set(Role):
            raise _invalid("target", f"must be one of {', '.join(Role)}")
        case _:
            return target or ""


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise _invalid("target", "must be a UUID") from error


async def _page(
    trading: Trading, selection: Selection, limit: int, cursor: str | None, *, is_history: bool
) -> Response:
    before = None if cursor is None else decode_cursor(cursor, int)[0]
    found = await trading.readings.limits(selection, is_history=is_history, before=before, limit=limit + 1)
    page = Page[Any].of(found, limit, lambda change: (change.change_no,))
    data = [_view(change) for change in page.data]
    return FastJSON({"data": data, "next_cursor": page.next_cursor, "has_more": page.has_more})


def _view(change: LimitChange) -> SetLimit:
    return SetLimit(
        scope=change.scope,
        target=change.target or None,
        name=change.name,
        limit=None if change.value is None else tidy(change.value),
        set_as=change.set_as,
        set_by=change.changed_by,
        set_at=change.changed_at,
    )
