"""`/internal/grants`: the gateway asks for them with the user's assertion, before a deployment is made or stopped."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from fleet_chassis.assertions import Caller
from fleet_chassis.permissions import service_caller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Body, DecimalString, FastJSON, Instant, Symbol
from pydantic import Field
from starlette.responses import Response

from fleet_trading.domain import Grant, Reason
from fleet_trading.events import grant_view
from fleet_trading.ports import account_key, grant_key
from fleet_trading.service.accounts import end_grant, grant

from .context import Service, key_of, problem_of

router = APIRouter(prefix="/internal/grants", include_in_schema=False)

_Gateway = Annotated[Caller, Depends(service_caller("gateway"))]


class GrantBody(Body):
    """No cap and no end unless given."""

    account_id: UUID | None = None
    symbols: list[Symbol] = Field(min_length=1, max_length=500)
    max_order_notional: DecimalString | None = Field(default=None, gt=0)
    expires_at: Instant | None = None


@router.put("/{deployment_id}")
async def put_grant(deployment_id: UUID, body: GrantBody, caller: _Gateway, trading: Service) -> Response:
    """Judges who owns the account, and lets the deployment use it; the answer names the account."""
    caller.require_scope("strategy")
    key, cap = key_of(caller), body.max_order_notional
    if key is not None:
        for symbol in body.symbols:
            if not key.allows(symbol):
                raise Problem(403, "restricted_symbol", f"{symbol} may not be traded.")
        caps = [one for one in (cap, key.max_order_notional) if one is not None]
        cap = min(caps) if caps else None
    account_id = await trading.account_of(caller, body.account_id)
    async with trading.bus.transaction() as tx:
        uow = trading.unit(tx)
        await uow.lock([account_key(account_id), grant_key(deployment_id)])
        granted = grant(
            uow,
            deployment_id=deployment_id,
            account_id=account_id,
            user_id=caller.user_id,
            symbols=tuple(dict.fromkeys(body.symbols)),
            max_order_notional=cap,
            expires_at=body.expires_at,
        )
        await uow.flush()
    return _answer(granted)


@router.delete("/{deployment_id}")
async def delete_grant(deployment_id: UUID, caller: _Gateway, trading: Service) -> Response:
    """Ends the grant; the answer names the account."""
    caller.require_scope("strategy")
    async with trading.bus.transaction() as tx:
        uow = trading.unit(tx)
        await uow.lock([grant_key(deployment_id)])
        ended = end_grant(uow, deployment_id=deployment_id, user_id=caller.user_id)
        await uow.flush()
    return _answer(ended)


def _answer(found: Grant | Reason) -> Response:
    if isinstance(found, Reason):
        raise problem_of(found)
    return FastJSON(grant_view(found))
