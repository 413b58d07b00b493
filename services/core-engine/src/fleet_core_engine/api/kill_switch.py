"""The kill switch: who may change which state, and what every instance that must obey has said to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from fastapi import APIRouter
from fleet_bus import Bus, TableView
from fleet_chassis.assertions import Caller, mfa_required
from fleet_chassis.permissions import TradeCaller
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import Body, Resource, Symbol
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.exchange_connector import VenueStatus
from fleet_contracts.trading import Account
from fleet_contracts.vocabulary import StateScope, TradingStateWord
from fleet_gate import StateGates, StateTold
from pydantic import Field, TypeAdapter, ValidationError

from fleet_core_engine import service
from fleet_core_engine.store.states import PostgresStateUnitOfWork

from .shown import TradingStateShown

_SYMBOL: TypeAdapter[str] = TypeAdapter(Symbol)
_STATES = {
    "halt": TradingStateWord.HALTED,
    "reduce": TradingStateWord.REDUCING,
    "resume": TradingStateWord.ACTIVE,
}


class KillSwitchBody(Body):
    """`target`: the symbol, the venue, or the account (the caller's default account, if none is named)."""

    scope: Literal["system", "symbol", "account", "venue"] = Field(examples=["account"])
    target: str | None = Field(default=None, max_length=100)
    action: Literal["halt", "reduce", "resume"]
    reason: str = Field(min_length=1, max_length=500, examples=["It buys what it should sell"])


class InstanceTold(Resource):
    """`ok`: the instance obeys and keeps it; `unreachable` and `error`: it hears it by Kafka, when it can."""

    instance: str
    result: Literal["ok", "unreachable", "error"]
    ms: int
    detail: str | None


class KillSwitchAnswer(TradingStateShown):
    instances: list[InstanceTold]


@dataclass(frozen=True, slots=True)
class Targets:
    """What a state can be of. Before Kafka has told any of a kind nothing is known, and a target is taken at its word."""

    instruments: TableView[InstrumentDefined]
    venues: TableView[VenueStatus]
    accounts: TableView[Account]

    def symbol(self, given: str | None) -> str:
        try:
            symbol = _SYMBOL.validate_python(given)
        except ValidationError as error:
            raise _bad_target("must be a symbol such as AAPL/USD") from error
        if len(self.instruments) and self.instruments.get(symbol) is None:
            raise Problem(422, "unknown_symbol", f"There is no such symbol, was {symbol}.")
        return symbol

    def venue(self, given: str | None) -> str:
        if not given:
            raise _bad_target("must be a venue such as paper")
        known = {venue for one in self.instruments.values() for venue in one.venues}
        known |= {status.venue for status in self.venues.values()}
        if known and given not in known:
            raise Problem(422, "unknown_venue", f"There is no such venue, was {given}.")
        return given

    def account(self, given: str | None, caller: Caller) -> tuple[str, bool]:
        """The account, and whether the caller acts as its owner, not as an admin."""
        is_admin = "admin" in caller.scopes
        if given is None:
            own = (one for one in self.accounts.values() if one.user_id == caller.user_id and one.is_default)
            found = next(own, None)
        else:
            account_id = _account_id(given)
            if is_admin and not len(self.accounts):
                return account_id, False
            found = self.accounts.get(account_id)
        if found is None or not (is_admin or found.user_id == caller.user_id):
            raise Problem(404, "account_not_found", "There is no such account.")
        return str(found.account_id), not is_admin


def kill_switch_router(bus: Bus, gates: StateGates, targets: Targets) -> APIRouter:
    """`POST /risk/kill-switch`: committed, told directly, and published when Kafka can carry it, in this order."""
    router = APIRouter(prefix="/api/v1/risk", tags=["risk"])

    @router.post("/kill-switch")
    async def kill_switch(body: KillSwitchBody, caller: TradeCaller) -> KillSwitchAnswer:
        """Halts, reduces or resumes; answers what each instance that must obey has said.

        An admin restricts the system, a venue, a symbol or any account; an owner his own account. Another admin than
        the one who restricted a system, venue or symbol releases it; an owner releases what he restricted himself. A release
        takes a second factor shown within five minutes (403 `mfa_required`)."""
        scope, target, is_owner = _scope_and_target(body, caller, targets)

        async def change() -> TradingStateChanged:
            async with bus.transaction() as tx:
                return await service.change_state(
                    PostgresStateUnitOfWork(tx),
                    scope,
                    target,
                    _STATES[body.action],
                    by=str(caller.user_id),
                    reason=body.reason,
                    is_owner=is_owner,
                    has_fresh_factor=caller.has_fresh_factor(tx.now),
                )

        try:
            changed = await change()
            told = await gates.tell_state(changed)
            if await _adopted(bus, changed, told):
                changed = await change()
                told = await gates.tell_state(changed)
        except service.SecondPersonNeeded as error:
            raise Problem(
                403, "second_person_required", "Who stopped it does not release it: another administrator does."
            ) from error
        except service.SecondFactorNeeded as error:
            raise mfa_required() from error
        except service.HeldByAnother as error:
            raise Problem(403, "held_by_another", "The account is restricted by somebody else.") from error
        shown = TradingStateShown.model_validate(changed)
        return KillSwitchAnswer(
            **shown.model_dump(), instances=[InstanceTold.model_validate(one.instance) for one in told]
        )

    return router


async def _adopted(bus: Bus, changed: TradingStateChanged, told: Sequence[StateTold]) -> bool:
    """Takes over what was told to the gates without us; whether `changed` has to be said again, under a higher version."""
    others = [one.other for one in told if one.other is not None]
    again = False
    for other in others:
        async with bus.transaction() as tx:
            again |= await service.adopt(PostgresStateUnitOfWork(tx), other)
    return again or any((other.epoch, other.version) == (changed.epoch, changed.version) for other in others)


def _scope_and_target(body: KillSwitchBody, caller: Caller, targets: Targets) -> tuple[StateScope, str | None, bool]:
    if body.scope == "account":
        account_id, is_owner = targets.account(body.target, caller)
        return StateScope.ACCOUNT, account_id, is_owner
    caller.require_scope("admin")
    if body.scope == "venue":
        return StateScope.VENUE, targets.venue(body.target), False
    if body.scope == "symbol":
        return StateScope.SYMBOL, targets.symbol(body.target), False
    if body.target is not None:
        raise _bad_target("The system has no target.")
    return StateScope.SYSTEM, None, False


def _account_id(given: str) -> str:
    try:
        return str(UUID(given))
    except ValueError as error:
        raise _bad_target("must be an account_id") from error


def _bad_target(message: str) -> Problem:
    return Problem(
        422,
        "invalid_request",
        "The request does not have the expected shape.",
        errors=[FieldError("target", message, "target")],
    )
