"""More accounts, transfers between them, beginning anew; and the entries that other parts of the platform bring."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, Self
from uuid import UUID, uuid5

import msgspec
from fastapi import APIRouter, Depends, Header
from fleet_chassis.assertions import Caller
from fleet_chassis.ids import new_id
from fleet_chassis.permissions import AdminCaller, TradeCaller, TransferCaller, service_caller
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import Body, DecimalString, FastJSON
from fleet_contracts import trading as shown
from pydantic import Field, model_validator
from starlette.responses import Response

from fleet_trading.domain import EntryKind, Reason
from fleet_trading.domain.exact import tidy
from fleet_trading.events import account_view
from fleet_trading.events.auditing import tell_account_released, tell_entry_booked
from fleet_trading.ports import account_key
from fleet_trading.service import money
from fleet_trading.service.accounts import open_account, release
from fleet_trading.service.orders import ACCOUNT_NOT_FOUND

from .context import Service, key_of, problem_of
from .documents import answers

router = APIRouter(prefix="/api/v1", tags=["accounts"])
internal = APIRouter(prefix="/internal/accounts", include_in_schema=False)

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
Currency = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9._-]{0,23}$", examples=["USD"])]
Amount = Annotated[DecimalString, Field(gt=0)]


class AccountBody(Body):
    name: str = Field(min_length=1, max_length=64, examples=["Second"])
    kind: Literal["paper", "live"]


class ReleaseBody(Body):
    reason: str = Field(min_length=1, max_length=500, examples=["The venue has confirmed the overfill"])


class TransferBody(Body):
    from_account_id: UUID
    to_account_id: UUID
    currency: Currency
    amount: Amount


class EntryBody(Body):
    """`amount` is signed: below zero it is taken from the account, as a withdrawal always is and a deposit never.
    `unit_cost`: of what comes in and is not the account's money, such as shares; in that. `transaction_id`: the same again
    changes nothing. `by`: who books it, which is kept."""

    transaction_id: UUID
    kind: Literal["deposit", "withdrawal", "funding", "fee", "dividend", "correction"]
    currency: Currency
    amount: DecimalString
    unit_cost: Annotated[DecimalString, Field(ge=0)] | None = None
    source: str = Field(min_length=1, max_length=200)
    by: str = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def goes_the_right_way(self) -> Self:
        if (
            not self.amount
            or (self.kind == "deposit" and self.amount < 0)
            or (self.kind == "withdrawal" and self.amount > 0)
        ):
            raise ValueError(f"the amount of a {self.kind} must not be {self.amount:f}")
        return self


class TransferDone(msgspec.Struct, frozen=True):
    transfer_id: UUID
    from_account_id: UUID
    to_account_id: UUID
    currency: str
    amount: Decimal
    created_at: datetime
    market_at: datetime


class EntryBooked(msgspec.Struct, frozen=True):
    """`is_replay`: it was booked before, and this changed nothing."""

    transaction_id: UUID
    account_id: UUID
    kind: str
    amount: Decimal
    currency: str
    source: str
    at: datetime
    market_at: datetime
    is_replay: bool


def _id_of(caller: Caller, what: str, key: str | None) -> UUID:
    """The same for the same key."""
    return new_id() if key is None else uuid5(caller.user_id, f"{what} {key}")


def _refused(reason: Reason) -> Problem:
    if reason.code in {"unsupported", "insufficient_funds", "too_many_accounts"}:
        return Problem(422, reason.code, reason.detail)
    return problem_of(reason)


def _replayed(is_replay: bool) -> dict[str, str]:
    return {"Idempotent-Replayed": "true"} if is_replay else {}


@router.post(
    "/accounts", response_class=FastJSON, status_code=201, responses=answers(201, shown.Account, "The account.")
)
async def post_account(
    body: AccountBody, caller: TradeCaller, trading: Service, idempotency_key: IdempotencyKey = None
) -> Response:
    """Another paper account, with an opening deposit of its own. 422 `too_many_accounts`."""
    default = await trading.account_of(caller, None)
    account_id = _id_of(caller, "account", idempotency_key)
    async with trading.bus.transaction() as tx:
        uow = trading.unit(tx)
        await uow.lock([account_key(default)])
        opened = await open_account(
            uow,
            account_id=account_id,
            user_id=caller.user_id,
            name=body.name,
            kind=body.kind,
            deposit=trading.settings.trading_opening_deposit,
            most=trading.settings.trading_most_accounts,
            market=trading.market,
        )
        await uow.flush()
    if isinstance(opened, Reason):
        raise _refused(opened)
    account, is_replay = opened
    headers = {"Location": f"/api/v1/accounts/{account_id}"} | _replayed(is_replay)
    return FastJSON(account_view(account), 201, headers)


@router.post(
    "/accounts/{account_id}/reset",
    response_class=FastJSON,
    status_code=202,
    responses=answers(202, shown.Account, "`resetting`, till its orders have ended."),
)
async def post_reset(
    account_id: UUID, caller: TradeCaller, trading: Service, idempotency_key: IdempotencyKey = None
) -> Response:
    """A paper account begins anew: its open orders are cancelled, then what it has goes out of its ledger and the opening
    deposit comes in. Nothing is deleted. 403 `restricted_symbol` for an API key of some symbols: it is of all; 403
    `session_required` for any where there is a limit on `daily_loss` or `drawdown`, as what was lost would count no more,
    and where the account may only reduce, which an admin ends."""
    await trading.account_of(caller, account_id)
    key = key_of(caller)
    if key is not None and key.symbols is not None:
        raise Problem(403, "restricted_symbol", "A reset is of every symbol, and the API key of some.")
    reset_id = _id_of(caller, f"reset {account_id}", idempotency_key)
    async with trading.bus.transaction() as tx:
        uow = trading.unit(tx)
        await uow.lock([account_key(account_id)])
        begun = await money.begin_reset(
            uow, uow.account(account_id), caller.user_id, reset_id, is_by_key=key is not None
        )
        await uow.flush()
        account = uow.account(account_id)
    if isinstance(begun, Reason) or account is None:
        raise _refused(begun if isinstance(begun, Reason) else ACCOUNT_NOT_FOUND)
    return FastJSON(account_view(account), 202, _replayed(begun))


@router.post(
    "/accounts/{account_id}/release", response_class=FastJSON, responses=answers(200, shown.Account, "It is active.")
)
async def post_release(account_id: UUID, body: ReleaseBody, caller: AdminCaller, trading: Service) -> Response:
    """Lets an account go on that something put into `reduce_only`. For admins, with a second factor shown within five
    minutes; kept in the audit log. 409 `account_owes` while it is short of anything: a buy of that is let through."""
    async with trading.bus.transaction() as tx:
        caller.require_fresh_factor(tx.now)
        uow = trading.unit(tx)
        await uow.lock([account_key(account_id)])
        account = uow.account(account_id)
        found = release(uow, account)
        if found is False:
            tell_account_released(tx, account_id, by=caller.user_id, reason=body.reason)
        await uow.flush()
    if isinstance(found, Reason) or account is None:
        raise _refused(found if isinstance(found, Reason) else ACCOUNT_NOT_FOUND)
    return FastJSON(account_view(account), 200, _replayed(found))


@router.post(
    "/transfers",
    response_class=FastJSON,
    status_code=201,
    responses=answers(201, TransferDone, "Both sides are booked."),
)
async def post_transfer(
    body: TransferBody, caller: TransferCaller, trading: Service, idempotency_key: IdempotencyKey = None
) -> Response:
    """Moves money between two accounts of the caller. 422 `insufficient_funds`: only what is neither reserved nor on its
    way to be settled can be moved."""
    if body.from_account_id == body.to_account_id:
        wrong = FieldError("to_account_id", "must be another account", "same_account")
        raise Problem(422, "invalid_request", "Money is transferred from one account to another.", errors=[wrong])
    default = await trading.account_of(caller, None)
    for account_id in (body.from_account_id, body.to_account_id):
        await trading.account_of(caller, account_id)
    asked = money.Transfer(
        transfer_id=_id_of(caller, "transfer", idempotency_key),
        user_id=caller.user_id,
        from_account_id=body.from_account_id,
        to_account_id=body.to_account_id,
        currency=body.currency,
        amount=body.amount,
    )
    async with trading.bus.transaction() as tx:
        uow = trading.unit(tx)
        # With the default account, so that one key is never two transfers.
        accounts = {default, body.from_account_id, body.to_account_id}
        await uow.lock(sorted(account_key(account_id) for account_id in accounts))
        done = await money.transfer(uow, asked, market=trading.market)
        await uow.flush()
    if isinstance(done, Reason):
        raise _refused(done)
    booked = done.adjustment
    view = TransferDone(
        transfer_id=booked.transaction_id,
        from_account_id=body.from_account_id,
        to_account_id=body.to_account_id,
        currency=booked.currency,
        amount=tidy(-booked.amount),
        created_at=booked.at,
        market_at=booked.market_at,
    )
    return FastJSON(view, 201, _replayed(done.is_replay))


@internal.post("/{account_id}/entries")
async def post_entry(
    account_id: UUID,
    body: EntryBody,
    trading: Service,
    caller: Annotated[Caller, Depends(service_caller("cli"))],
) -> Response:
    """Books what is no trade, with its source."""
    async with trading.bus.transaction() as tx:
        uow = trading.unit(tx)
        await uow.lock([account_key(account_id)])
        booked = await money.book_entry(
            uow,
            uow.account(account_id),
            transaction_id=body.transaction_id,
            kind=EntryKind(body.kind),
            amount=body.amount,
            currency=body.currency,
            source=body.source,
            market=trading.market,
            unit_cost=body.unit_cost,
        )
        if isinstance(booked, money.Booked) and not booked.is_replay:
            tell_entry_booked(tx, booked.adjustment, by=f"{caller.issuer}:{body.by}")
        await uow.flush()
    if isinstance(booked, Reason):
        raise _refused(booked)
    entry = booked.adjustment
    view = EntryBooked(
        entry.transaction_id,
        entry.account_id,
        entry.kind.value,
        tidy(entry.amount),
        entry.currency,
        entry.source,
        entry.at,
        entry.market_at,
        booked.is_replay,
    )
    return FastJSON(view, 201, _replayed(booked.is_replay))
