"""`POST /orders/cancel-after`: a dead man's switch. Trading only sets it; those next to the orders keep it."""

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter
from fleet_chassis.permissions import TradeCaller
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import Body, FastJSON
from fleet_contracts.topics import TRADING_CANCEL_AFTER
from fleet_gate import InstanceTold, set_cancel_after
from pydantic import Field
from starlette.responses import Response

from .context import Service
from .documents import answers

LEAST_S, MOST_S = 5, 86_400
"""Shorter, and a slow moment of the network cancels; a day is what other venues take at the most."""

router = APIRouter(prefix="/api/v1/orders", tags=["orders"])


class CancelAfterBody(Body):
    """`timeout_s`: 5 to 86,400, or 0, which disables it."""

    timeout_s: Annotated[int, Field(strict=True, ge=0, le=MOST_S, examples=[60])]
    account_id: UUID | None = None


class CancelAfterAnswer(msgspec.Struct, frozen=True):
    """All orders of the account are canceled at `trigger_time`; null: it is disabled."""

    account_id: UUID
    current_time: datetime
    trigger_time: datetime | None
    instances: list[InstanceTold]


@router.post(
    "/cancel-after",
    response_class=FastJSON,
    responses=answers(200, CancelAfterAnswer, "Until when the account's orders stay, and who keeps it."),
)
async def post_cancel_after(body: CancelAfterBody, caller: TradeCaller, trading: Service) -> Response:
    """Cancels all open orders of the account unless it is called again within `timeout_s`: every 15 to 30 seconds with 60,
    for example. 0 disables it. New orders are taken before and after; once it has come it is disabled.

    Those that cancel are told directly and listed; who was not reached hears it by Kafka."""
    if trading.settings.feed == "replay":
        raise Problem(422, "unsupported", "On a replay the market waits for the fleet, and no time runs out.")
    if 0 < body.timeout_s < LEAST_S:
        message = f"must be 0 or at least {LEAST_S}, was {body.timeout_s}"
        raise Problem(422, "invalid_request", message, errors=[FieldError("timeout_s", message, "too_short")])
    account_id = await trading.account_of(caller, body.account_id)
    timeout = timedelta(seconds=body.timeout_s) if body.timeout_s else None
    async with trading.bus.transaction() as tx:
        told = await set_cancel_after(tx.connection, account_id, caller.user_id, now=tx.now, timeout=timeout)
        tx.publish(TRADING_CANCEL_AFTER, str(account_id), told)
    instances = [told_to for told_to, _ in await trading.last_gates.tell("/internal/cancel-after", told)]
    return FastJSON(CancelAfterAnswer(account_id, told.set_at, told.cancel_at, instances))
