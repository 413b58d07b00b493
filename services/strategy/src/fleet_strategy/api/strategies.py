"""`/api/v1/strategies`."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID, uuid5

from fastapi import APIRouter, Header, Response
from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_chassis.ids import Ids
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import ReadCaller, StrategyCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Body, Resource
from fleet_sdk.builtin import BUILTINS, schema
from pydantic import Field

from fleet_strategy import service
from fleet_strategy.domain import Strategy
from fleet_strategy.store.catalogue import PostgresCatalogue, find_strategy, list_strategies

from .answers import Json, body_hash, created, invalid, told_as_problems

Name = Annotated[str, Field(min_length=1, max_length=100, examples=["Crossing averages"])]


class StrategyBody(Body):
    name: Name
    kind: Literal["builtin", "python"]
    builtin: Annotated[str | None, Field(max_length=100, examples=["sma_cross"])] = None
    source: str | None = None
    parameters_schema: Json | None = None


class StrategyChange(Body):
    name: Name


class StrategyShown(Resource):
    """`parameters_schema` is the JSON Schema that a deployment's parameters must fit."""

    strategy_id: UUID
    name: str
    kind: Literal["builtin"]
    builtin: str
    version: int
    parameters_schema: Json
    created_at: datetime
    updated_at: datetime


def router(bus: Bus, database: Database, ids: Ids) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/strategies", tags=["strategies"])

    @routes.post("", status_code=201)
    async def create(
        body: StrategyBody,
        caller: StrategyCaller,
        response: Response,
        idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    ) -> StrategyShown:
        """Makes a strategy of a builtin. `kind` python is not built yet."""
        builtin = _builtin(body)
        async with bus.transaction() as tx:
            identity = ids.new_id() if idempotency_key is None else uuid5(caller.user_id, f"strategy:{idempotency_key}")
            strategy = Strategy(identity, caller.user_id, body.name, builtin, 1, body_hash(body), tx.now, tx.now)
            with told_as_problems():
                stored, was_there = await service.create_strategy(PostgresCatalogue(tx), strategy)
        created(response, f"/api/v1/strategies/{stored.strategy_id}", is_replayed=was_there)
        return _shown(stored)

    @routes.get("")
    async def list_own(caller: ReadCaller, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> Page[StrategyShown]:
        """The caller's strategies, newest first."""
        after = None if cursor is None else decode_cursor(cursor, datetime, UUID)
        async with database.connection() as connection:
            found = await list_strategies(connection, caller.user_id, after, limit + 1)
        return Page[StrategyShown].of([_shown(s) for s in found], limit, lambda s: (s.created_at, s.strategy_id))

    @routes.get("/{strategy_id}")
    async def get(strategy_id: UUID, caller: ReadCaller) -> StrategyShown:
        """One strategy."""
        async with database.connection() as connection:
            found = await find_strategy(connection, strategy_id, caller.user_id)
        if found is None:
            raise Problem(404, "not_found", "There is no such strategy.")
        return _shown(found)

    @routes.patch("/{strategy_id}")
    async def rename(strategy_id: UUID, body: StrategyChange, caller: StrategyCaller) -> StrategyShown:
        """Gives a strategy another name."""
        with told_as_problems():
            async with bus.transaction() as tx:
                catalogue = PostgresCatalogue(tx)
                renamed = await service.rename_strategy(catalogue, strategy_id, caller.user_id, body.name)
        return _shown(renamed)

    @routes.delete("/{strategy_id}", status_code=204)
    async def delete(strategy_id: UUID, caller: StrategyCaller) -> None:
        """Deletes a strategy. 409 while a deployment of it is not stopped."""
        with told_as_problems():
            async with bus.transaction() as tx:
                await service.delete_strategy(PostgresCatalogue(tx), strategy_id, caller.user_id)

    return routes


def _builtin(body: StrategyBody) -> str:
    if body.kind == "python":
        raise invalid("kind", "must be builtin: python is not built yet", "unsupported", problem="unsupported")
    for field in ("source", "parameters_schema"):
        if getattr(body, field) is not None:
            raise invalid(field, "is for kind python, which is not built yet", "unsupported", problem="unsupported")
    if body.builtin is None:
        raise invalid("builtin", "is required for kind builtin", "required")
    if body.builtin not in BUILTINS:
        raise invalid("builtin", f"must be one of {', '.join(sorted(BUILTINS))}, was {body.builtin}", "unknown")
    return body.builtin


def _shown(strategy: Strategy) -> StrategyShown:
    return StrategyShown(
        strategy_id=strategy.strategy_id,
        name=strategy.name,
        kind="builtin",
        builtin=strategy.builtin,
        version=strategy.version,
        parameters_schema=schema(strategy.builtin),
        created_at=strategy.created_at,
        updated_at=strategy.updated_at,
    )
