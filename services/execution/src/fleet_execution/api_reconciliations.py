"""Routes: the comparisons with the venues, and taking a venue's word for what they could not mend."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from fleet_bus import Bus
from fleet_bus.auditing import tell_acted
from fleet_chassis.assertions import Caller
from fleet_chassis.database import Database
from fleet_chassis.logging import get_logger
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import AdminCaller, service_caller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Body, DecimalString, Resource
from fleet_contracts.audit import Change
from fleet_contracts.topics import EXECUTION_AUDIT
from pydantic import Field

from .domain.accepting import NotAccepted
from .domain.reconciliation import Difference, Ending, Reconciliation
from .service.accepting import accept
from .store.comparing import VENUES, ComparingUnit, reconciliations_page, unresolved_now

log = get_logger("fleet_execution.api")


class AcceptBody(Body):
    reason: Annotated[str, Field(min_length=1, max_length=500, examples=["The venue has confirmed it by mail"])]


class OperatorAcceptBody(AcceptBody):
    """`by`: who is at the shell."""

    by: Annotated[str, Field(min_length=1, max_length=100)]


class DifferenceShown(Resource):
    """`kind`: unknown_order, unknown_fill, accept_missing, fill_missing, fill_differs, trigger_missing, terms,
    ended_here_open_there, totals, not_open_there; and position, which is of an account and of no order.

    `here` and `there`: what the account holds, of position. `venue_trade_id`: of unknown_fill and fill_differs."""

    kind: str
    venue_order_ref: UUID | None
    account_id: UUID | None
    venue_trade_id: str | None
    here: DecimalString | None
    there: DecimalString | None
    detail: str
    is_mended: bool


class ReconciliationShown(Resource):
    """`outcome`: asked (not answered yet), clean, mended, unresolved, unanswered, accepted (it was
    unresolved, and an administrator took the venue's word)."""

    reconciliation_id: UUID
    venue: str
    symbol: str
    cause: str
    outcome: str
    attempts: int
    differences: list[DifferenceShown]
    at: datetime
    ended_at: datetime | None


class UnresolvedShown(Resource):
    """`since`: no new order of its symbol has gone to its venue from then on."""

    since: datetime
    comparison: ReconciliationShown


def reconciliations_router(bus: Bus, database: Database, comparing: ComparingUnit) -> APIRouter:
    """Of all accounts, so for admins only."""
    routes = APIRouter(prefix="/api/v1/executions/reconciliations", tags=["executions"])

    @routes.get("")
    async def reconciliations(
        _caller: AdminCaller,
        venue: str | None = None,
        symbol: str | None = None,
        outcome: Ending | None = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Page[ReconciliationShown]:
        """The comparisons with the venues, newest first."""
        before = None if cursor is None else decode_cursor(cursor, datetime, UUID)
        async with database.connection() as connection:
            found = await reconciliations_page(
                connection, venue=venue, symbol=symbol, outcome=outcome, before=before, limit=limit + 1
            )
        shown = [_reconciliation(reconciliation) for reconciliation in found]
        return Page[ReconciliationShown].of(shown, limit, lambda last: (last.at, last.reconciliation_id))

    @routes.post("/{reconciliation_id}/accept")
    async def accept_differences(reconciliation_id: UUID, body: AcceptBody, caller: AdminCaller) -> ReconciliationShown:
        """Takes the venue's word for what an `unresolved` comparison has left: orders that it does not have end as
        `canceled` with the code `not_at_venue`, what accounts hold is what it says, fills of unknown orders are passed
        over. Then it is asked anew. For admins, with a second factor shown within five minutes; kept in the audit log;
        said twice it is done once.

        409 `not_unresolved`: a later comparison of the symbol found something else, or nothing is left; `venue_must_mend`:
        its word cannot settle something of it, and `detail` says what to do at the venue; nothing is changed then."""
        caller.require_fresh_factor(bus.clock.now())
        by = str(caller.user_id)
        return await _accept(bus, comparing, reconciliation_id, by=by, reason=body.reason)

    return routes


def operators_router(bus: Bus, database: Database, comparing: ComparingUnit) -> APIRouter:
    """The same for who is at the machine (`fleet venues`)."""
    routes = APIRouter(prefix="/internal/reconciliations", include_in_schema=False)
    operator = Depends(service_caller("cli"))

    @routes.get("/unresolved")
    async def unresolved(_caller: Annotated[Caller, operator]) -> list[UnresolvedShown]:
        """The last comparison of each symbol that is in doubt for what it could not mend."""
        async with database.connection() as connection:
            found = await unresolved_now(connection)
        return [UnresolvedShown(since=since, comparison=_reconciliation(last)) for since, last in found]

    @routes.post("/{reconciliation_id}/accept")
    async def accept_differences(
        reconciliation_id: UUID, body: OperatorAcceptBody, caller: Annotated[Caller, operator]
    ) -> ReconciliationShown:
        by = f"{caller.issuer}:{body.by}"
        return await _accept(bus, comparing, reconciliation_id, by=by, reason=body.reason)

    return routes


async def _accept(
    bus: Bus, comparing: ComparingUnit, reconciliation_id: UUID, *, by: str, reason: str
) -> ReconciliationShown:
    async with bus.transaction() as tx:
        uow = comparing(tx)
        await uow.lock([VENUES])
        named = await uow.reconciliation(reconciliation_id)
        if named is None:
            raise Problem(404, "not_found", f"There is no such comparison, was {reconciliation_id}.")
        if named.outcome is Ending.ACCEPTED:
            return _reconciliation(named)
        try:
            accepted = await accept(uow, named)
        except NotAccepted as refused:
            raise Problem(409, refused.code, refused.detail) from refused
        await uow.flush()
        where = Change(name="venue", after=named.venue), Change(name="symbol", after=named.symbol)
        changes = (*where, *map(_change, named.left))
        target = f"reconciliation:{reconciliation_id}"
        tell_acted(tx, EXECUTION_AUDIT, "differences.accepted", target, *changes, by=by, reason=reason)
    log.info("differences_accepted", venue=named.venue, symbol=named.symbol, differences=len(named.left), by=by)
    return _reconciliation(accepted)


def _change(settled: Difference) -> Change:
    of = settled.venue_trade_id or settled.venue_order_ref or settled.account_id
    before, after = (None if one is None else f"{one:f}" for one in (settled.here, settled.there))
    return Change(name=f"{settled.kind} {of}", before=before, after=after)


def _reconciliation(found: Reconciliation) -> ReconciliationShown:
    return ReconciliationShown(
        reconciliation_id=found.reconciliation_id,
        venue=found.venue,
        symbol=found.symbol,
        cause=found.cause,
        outcome=found.outcome,
        attempts=found.attempt,
        differences=[
            DifferenceShown(
                kind=d.kind,
                venue_order_ref=d.venue_order_ref,
                account_id=d.account_id,
                venue_trade_id=d.venue_trade_id,
                here=d.here,
                there=d.there,
                detail=d.detail,
                is_mended=d.is_mended,
            )
            for d in found.differences
        ],
        at=found.asked_at,
        ended_at=found.ended_at,
    )
