"""`/api/v1/deployments`."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Response
from fleet_bus import Bus, TableView
from fleet_chassis.assertions import Caller
from fleet_chassis.database import Database
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import ReadCaller, StrategyCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Body, DecimalString, Instant, Resource, Symbol
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.vocabulary import Timeframe
from fleet_sdk.builtin import create as create_builtin
from fleet_sdk.parameters import InvalidParameter
from pydantic import Field

from fleet_strategy import service
from fleet_strategy.domain import Deployment, DeploymentState, Strategy
from fleet_strategy.store.activity import SignalShown as StoredSignal
from fleet_strategy.store.activity import last_signals, positions_of
from fleet_strategy.store.catalogue import PostgresCatalogue, find_deployment, list_deployments

from .answers import Json, body_hash, created, invalid, told_as_problems

SHOWN_SIGNALS = 20


class DeploymentBody(Body):
    strategy_id: UUID
    version: Annotated[int, Field(strict=True)] | None = None
    account_id: UUID | None = None
    symbols: Annotated[list[Symbol], Field(min_length=1, max_length=100)]
    timeframe: Timeframe
    parameters: Json = Field(default_factory=dict)
    mode: Literal["paper", "live"]
    max_order_notional: Annotated[DecimalString, Field(gt=0)] | None = None
    expires_at: Instant | None = None


class ReasonShown(Resource):
    code: str
    detail: str


class DeploymentShown(Resource):
    """`max_order_notional`: the tighter of what was asked for and of the API key that made it. `state`: active, paused or
    stopped; `reason` says why, where its owner did not ask for it."""

    deployment_id: UUID
    strategy_id: UUID
    strategy_version: int
    account_id: UUID
    user_id: UUID
    symbols: list[str]
    timeframe: str
    parameters: Json
    mode: str
    max_order_notional: DecimalString | None
    expires_at: datetime | None
    state: str
    reason: ReasonShown | None
    last_step_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int


class HeldShown(Resource):
    symbol: str
    quantity: DecimalString


class SignalShown(Resource):
    """`outcome`: accepted or dropped (with the reason), null until core-engine has said. The order is shown, not its exits."""

    signal_id: UUID
    market_at: datetime
    action: str
    symbol: str
    side: str | None
    type: str | None
    quantity: DecimalString | None
    limit_price: DecimalString | None
    time_in_force: str | None
    stop_price: DecimalString | None
    trail_amount: DecimalString | None
    trail_percent: DecimalString | None
    expires_at: datetime | None
    post_only: bool
    reduce_only: bool
    order_class: str
    take_profit_price: DecimalString | None
    stop_loss_price: DecimalString | None
    stop_loss_limit_price: DecimalString | None
    target_signal_id: UUID | None
    outcome: str | None
    reason: str | None
    order_id: UUID | None
    order_status: str | None


class DeploymentInFull(DeploymentShown):
    """With what its own fills left it with, and its last signals, newest first."""

    positions: list[HeldShown]
    signals: list[SignalShown]


def router(
    bus: Bus,
    database: Database,
    instruments: TableView[InstrumentDefined],
    timeframes: Collection[str],
    *,
    most_of_a_user: int,
) -> APIRouter:
    """`timeframes`: those whose steps the fleet's feed ends. `most_of_a_user`: deployments that are not stopped."""
    routes = APIRouter(prefix="/api/v1/deployments", tags=["deployments"])

    @routes.post("", status_code=201)
    async def create(body: DeploymentBody, caller: StrategyCaller, response: Response) -> DeploymentShown:
        """Lets a strategy run on an account, within the grant that trading has given it. 409 `too_many_deployments`. With
        `mode` live it takes a second factor shown within five minutes (403 `mfa_required`)."""
        deployment_id, account_id = _granted(caller, body)
        cap = _cap(caller, body)
        _require_may_run(caller, body.mode, body.symbols, cap, now=bus.clock.now())
        async with database.connection() as connection:
            before = await find_deployment(connection, deployment_id, caller.user_id)
        with told_as_problems():
            if before is not None:
                # Answered whatever has changed since: the strategy may be gone, or a symbol.
                stored, was_there = service.repeated(before, body_hash(body)), True
            else:
                _check(body, instruments, timeframes)
                async with bus.transaction() as tx:
                    catalogue = PostgresCatalogue(tx)
                    strategy = await catalogue.strategy(body.strategy_id, caller.user_id)
                    new = _deployment(
                        body,
                        strategy,
                        deployment_id,
                        account_id,
                        max_order_notional=cap,
                        now=tx.now,
                        market_at=bus.market_at,
                    )
                    stored, was_there = await service.create_deployment(catalogue, new, most=most_of_a_user)
        created(response, f"/api/v1/deployments/{stored.deployment_id}", is_replayed=was_there)
        return _shown(stored)

    @routes.get("")
    async def list_own(
        caller: ReadCaller,
        strategy_id: UUID | None = None,
        state: DeploymentState | None = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Page[DeploymentShown]:
        """The caller's deployments, newest first."""
        after = None if cursor is None else decode_cursor(cursor, datetime, UUID)
        async with database.connection() as connection:
            found = await list_deployments(
                connection, caller.user_id, strategy_id=strategy_id, state=state, after=after, limit=limit + 1
            )
        shown = [_shown(deployment) for deployment in found]
        return Page[DeploymentShown].of(shown, limit, lambda d: (d.created_at, d.deployment_id))

    @routes.get("/{deployment_id}")
    async def get(deployment_id: UUID, caller: ReadCaller) -> DeploymentInFull:
        """One deployment, with what its own fills left it with, and its last signals."""
        async with database.connection() as connection:
            found = await find_deployment(connection, deployment_id, caller.user_id)
            if found is None:
                raise Problem(404, "not_found", "There is no such deployment.")
            positions = await positions_of(connection, deployment_id)
            signals = await last_signals(connection, deployment_id, SHOWN_SIGNALS)
        return DeploymentInFull(
            **_shown(found).model_dump(),
            positions=[HeldShown(symbol=symbol, quantity=quantity) for symbol, quantity in positions],
            signals=[_signal(signal) for signal in signals],
        )

    @routes.post("/{deployment_id}/{action}")
    async def change(
        deployment_id: UUID, action: Literal["pause", "resume", "stop"], caller: StrategyCaller
    ) -> DeploymentShown:
        """Pauses, resumes or stops a deployment. Pause: no more steps. Resume: from the next one on; live takes a fresh
        second factor (403 `mfa_required`), and beyond an API key it is refused (403 `restricted_symbol`,
        `max_order_notional`). Stop: for good.

        What is so already stays so.
        """
        with told_as_problems():
            async with bus.transaction() as tx:
                catalogue = PostgresCatalogue(tx)
                if action == "resume":
                    found = await catalogue.deployment(deployment_id, caller.user_id)
                    _require_may_run(caller, found.mode, found.symbols, found.max_order_notional, now=tx.now)
                changed = await service.change_deployment(
                    catalogue, deployment_id, caller.user_id, action, market_at=bus.market_at
                )
        return _shown(changed)

    return routes


def _granted(caller: Caller, body: DeploymentBody) -> tuple[UUID, UUID]:
    """The ids that the gateway's assertion claims: trading has judged that this account may be used by this deployment."""
    try:
        deployment_id, account_id = (UUID(str(caller.claims[name])) for name in ("deployment_id", "account_id"))
    except (KeyError, ValueError) as error:
        raise Problem(
            403, "grant_required", "A deployment is made through the gateway, with trading's grant."
        ) from error
    if body.account_id not in (None, account_id):
        raise Problem(403, "grant_required", f"The grant is for another account, was {body.account_id}.")
    return deployment_id, account_id


def _cap(caller: Caller, body: DeploymentBody) -> Decimal | None:
    """That of the grant: the tighter of the body's and of the API key's."""
    caps = (body.max_order_notional, caller.max_order_notional)
    return min((cap for cap in caps if cap is not None), default=None)


def _require_may_run(
    caller: Caller, mode: str, symbols: Collection[str], cap: Decimal | None, *, now: datetime
) -> None:
    """Refuses, with 403, who may not let such a deployment trade, whether it begins or goes on."""
    if mode == "live":
        caller.require_fresh_factor(now)
    caller.require_symbols(symbols)
    of_key = caller.max_order_notional
    if of_key is not None and (cap is None or cap > of_key):
        was = "none" if cap is None else f"{cap:f}"
        raise Problem(403, "max_order_notional", f"The API key may {of_key:f}, the deployment's cap was {was}.")


def _check(body: DeploymentBody, instruments: TableView[InstrumentDefined], timeframes: Collection[str]) -> None:
    if body.mode == "live":
        raise invalid("mode", "must be paper: live is not built yet", "unsupported", problem="unsupported")
    if body.timeframe.value not in timeframes:
        message = (
            f"must be {' or '.join(timeframes)} on this feed: others are not built yet, was {body.timeframe.value}"
        )
        raise invalid("timeframe", message, "unsupported", problem="unsupported")
    if len(set(body.symbols)) != len(body.symbols):
        raise invalid("symbols", "must differ from each other")
    for place, symbol in enumerate(body.symbols):
        if instruments.get(symbol) is None:
            raise invalid(f"symbols.{place}", f"is not traded here, was {symbol}", "unknown_symbol")


def _deployment(
    body: DeploymentBody,
    strategy: Strategy,
    deployment_id: UUID,
    account_id: UUID,
    *,
    max_order_notional: Decimal | None,
    now: datetime,
    market_at: datetime | None,
) -> Deployment:
    if body.version not in (None, strategy.version):
        raise invalid(
            "version", f"must be a version of the strategy ({strategy.version}), was {body.version}", "unknown"
        )
    try:
        parameters = create_builtin(strategy.builtin, body.parameters).parameters
    except InvalidParameter as error:
        raise invalid(f"parameters.{error.field}", error.message, error.code) from error
    return Deployment(
        deployment_id=deployment_id,
        strategy_id=strategy.strategy_id,
        strategy_version=strategy.version,
        builtin=strategy.builtin,
        account_id=account_id,
        user_id=strategy.user_id,
        symbols=tuple(sorted(body.symbols)),
        timeframe=body.timeframe.value,
        parameters=msgspec.to_builtins(parameters),
        mode=body.mode,
        max_order_notional=max_order_notional,
        expires_at=body.expires_at,
        state=DeploymentState.ACTIVE,
        reason=None,
        version=1,
        last_step_at=market_at,
        body_hash=body_hash(body),
        created_at=now,
        updated_at=now,
    )


def _shown(deployment: Deployment) -> DeploymentShown:
    return DeploymentShown.model_validate(deployment)


def _signal(stored: StoredSignal) -> SignalShown:
    signal = asdict(stored.signal)
    return SignalShown(
        type=signal.pop("order_type"),
        outcome=stored.outcome,
        reason=stored.reason,
        order_id=stored.order_id,
        order_status=stored.order_status,
        **{name: value for name, value in signal.items() if name in SignalShown.model_fields},
    )
