"""`/orders/{order_id}/events`: what has happened to an order."""

from datetime import datetime
from uuid import UUID

import msgspec
from fastapi import APIRouter
from fleet_chassis.permissions import ReadCaller
from fleet_chassis.shapes import FastJSON
from fleet_contracts import trading as shown
from starlette.responses import Response

from fleet_trading.domain import Transition, first_transition

from .context import Service, order_id_of, own
from .documents import answers, page_of

router = APIRouter(prefix="/api/v1/orders", tags=["orders"])


class OrderEvent(msgspec.Struct, omit_defaults=True):
    """One step of an order: its version and status after it, when, and why. A fill's size and price are its trade's."""

    version: int
    at: datetime
    event: str
    status: str
    reason: shown.Reason | None = None
    trade_id: UUID | None = None


@router.get(
    "/{order_id}/events",
    response_class=FastJSON,
    responses=answers(200, page_of(OrderEvent), "Oldest first; all on one page."),
)
async def get_order_events(order_id: str, caller: ReadCaller, trading: Service) -> Response:
    """What has happened to the order: each step with its time and cause."""
    order, transitions = await trading.readings.order_events(order_id_of(order_id))
    data = [_event(transition) for transition in (first_transition(own(caller, order)), *transitions)]
    return FastJSON({"data": data, "next_cursor": None, "has_more": False})


def _event(transition: Transition) -> OrderEvent:
    version, at, event, status, why, trade_id = transition
    return OrderEvent(
        version, at, event, status, None if why is None else shown.Reason(code=why.code, detail=why.detail), trade_id
    )
