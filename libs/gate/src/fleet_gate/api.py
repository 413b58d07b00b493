"""The direct way in: `/internal/state`, for when Kafka cannot carry a halt."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Self

from fastapi import APIRouter, Depends
from fleet_chassis.database import is_down
from fleet_chassis.permissions import service_caller
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.vocabulary import StateScope, TradingStateWord
from pydantic import AwareDatetime, BaseModel, model_validator

from .states import States


class StateBody(BaseModel):
    """TradingStateChanged as JSON; like every reader of it, this one passes over fields it does not know."""

    scope: StateScope
    target: str | None = None
    state: TradingStateWord
    epoch: int
    version: int
    by: str
    reason: str
    changed_at: AwareDatetime

    @model_validator(mode="after")
    def _names_its_target(self) -> Self:
        if (self.scope is StateScope.SYSTEM) != (self.target is None):
            raise ValueError("system has no target, every other scope has one")
        return self

    def change(self) -> TradingStateChanged:
        return TradingStateChanged(**self.model_dump())


class ObeyedState(BaseModel):
    """What is obeyed now of a scope and target; its (epoch, version) is that of the call, or a later one's."""

    scope: StateScope
    target: str | None
    state: TradingStateWord
    epoch: int
    version: int
    by: str
    reason: str
    changed_at: datetime


class TakenState(ObeyedState):
    """`is_known`: whether there is such a target; null where this service, or nobody at this moment, can tell."""

    is_known: bool | None


Knows = Callable[[StateScope, str], Awaitable[bool | None]]


def state_router(
    states: States, told: Callable[[TradingStateChanged], Awaitable[TradingStateChanged]], knows: Knows | None
) -> APIRouter:
    """`POST` tells a state, answered once it is kept, of whatever target; `GET` lists what is obeyed. For core-engine and
    the CLI."""
    router = APIRouter(
        prefix="/internal/state",
        include_in_schema=False,
        dependencies=[Depends(service_caller("core-engine", "cli"))],
    )

    @router.post("")
    async def tell(body: StateBody) -> TakenState:
        held = _obeyed(await told(body.change()))
        return TakenState(**held.model_dump(), is_known=await _is_known(knows, held))

    @router.get("")
    async def obeyed() -> list[ObeyedState]:
        return [_obeyed(held) for held in states.all()]

    return router


async def _is_known(knows: Knows | None, held: ObeyedState) -> bool | None:
    """It is obeyed and kept by now, whatever comes of this."""
    if knows is None or held.target is None:
        return None
    try:
        return await knows(held.scope, held.target)
    except Exception as error:
        if not is_down(error):
            raise
        return None


def _obeyed(held: TradingStateChanged) -> ObeyedState:
    return ObeyedState.model_validate(held, from_attributes=True)
