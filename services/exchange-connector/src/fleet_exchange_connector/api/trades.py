"""Routes: trades that were other ones than the venue had told, or none."""

import contextlib
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_chassis.logging import get_logger
from fleet_chassis.permissions import AdminCaller
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import Body, DecimalString, Resource
from pydantic import Field

from fleet_exchange_connector.domain.corrections import CannotCorrect, Correction, Trade
from fleet_exchange_connector.domain.instruments import VENUE
from fleet_exchange_connector.domain.orders import fill_named
from fleet_exchange_connector.events import tell_trade_corrected
from fleet_exchange_connector.service.corrections import correct_trade
from fleet_exchange_connector.store.corrections import trade_of, way_of
from fleet_exchange_connector.store.forgetting import KEPT
from fleet_exchange_connector.store.unit_of_work import BOOK, Opening

Reason = Annotated[str, Field(min_length=1, max_length=500, examples=["Clearly erroneous"])]
_FIELDS = {"invalid_quantity": "quantity", "invalid_price": "price"}

log = get_logger("fleet_exchange_connector.api")


class CorrectBody(Body):
    """What the trade was; what is left out is as it was told."""

    quantity: DecimalString | None = Field(default=None, gt=0)
    price: DecimalString | None = Field(default=None, gt=0, examples=["101.25"])
    reason: Reason


class BustBody(Body):
    reason: Reason


class TradeShown(Resource):
    """As it is now; `revision` counts how often it was corrected, quantity 0: there was no such trade."""

    venue: str
    venue_trade_id: str
    account_id: UUID
    symbol: str
    quantity: DecimalString
    price: DecimalString
    fee: DecimalString
    fee_currency: str
    revision: int


def trades_router(bus: Bus, database: Database, unit_of_work: Opening) -> APIRouter:
    """For admins. `venue_trade_id` is the venue's own name of a trade (`GET /executions/{order_id}` has it)."""
    router = APIRouter(prefix=f"/api/v1/exchanges/{VENUE}/trades/{{venue_trade_id}}", tags=["exchanges"])

    @router.post("/correct")
    async def correct(venue_trade_id: str, body: CorrectBody, caller: AdminCaller) -> TradeShown:
        """The trade had another quantity or price: order, ledger, position and profit follow, told once.

        409 `order_open`, `trade_too_old`; 422 `invalid_quantity` (above what was traded, or off the grid), `invalid_price`."""
        return await change(
            venue_trade_id, Correction(quantity=body.quantity, price=body.price, reason=body.reason, by=caller.user_id)
        )

    @router.post("/bust")
    async def bust(venue_trade_id: str, body: BustBody, caller: AdminCaller) -> TradeShown:
        """There was no such trade. 409 `order_open`, `trade_too_old`."""
        return await change(
            venue_trade_id, Correction(quantity=Decimal(0), price=None, reason=body.reason, by=caller.user_id)
        )

    async def change(venue_trade_id: str, correction: Correction) -> TradeShown:
        named = fill_named(venue_trade_id)
        if named is None:
            raise _not_found()
        ref, number = named
        async with database.connection() as connection:
            way = await way_of(connection, ref)
        if way is None:
            raise _not_found()
        symbol, side = way
        if side is None:
            raise Problem(409, "trade_too_old", "The order is from before the venue kept which way it went.")
        async with bus.transaction() as tx:
            work = unit_of_work(tx)
            await work.lock([BOOK + symbol])
            trade = await trade_of(tx.connection, ref, number, symbol, side)
            if trade is None:
                raise _not_found()
            with _told_as_problems():
                after = await correct_trade(work, trade, correction)
            if after is not trade:
                tell_trade_corrected(tx, venue_trade_id, trade, after, correction)
            await work.flush()
        if after is not trade:
            log.info(correction.code, venue_trade_id=venue_trade_id, revision=after.revision, by=str(correction.by))
        return _shown(after)

    return router


@contextlib.contextmanager
def _told_as_problems() -> Iterator[None]:
    try:
        yield
    except CannotCorrect as error:
        field = _FIELDS.get(error.code)
        if field is None:
            raise Problem(409, error.code, error.detail) from error
        raise Problem(422, error.code, error.detail, errors=[FieldError(field, error.detail, error.code)]) from error


def _not_found() -> Problem:
    return Problem(
        404, "trade_not_found", f"The venue has no such trade, or its order ended over {KEPT.days} days ago."
    )


def _shown(trade: Trade) -> TradeShown:
    fill = trade.fill
    return TradeShown(
        venue=VENUE,
        venue_trade_id=fill.venue_trade_id,
        account_id=fill.account_id,
        symbol=trade.symbol,
        quantity=fill.quantity,
        price=fill.price,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        revision=trade.revision,
    )
