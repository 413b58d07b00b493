"""The domain's facts and commands as contract messages."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from uuid import UUID, uuid5

import msgspec
from fleet_contracts import Message, Topic, execution, venue
from fleet_contracts.topics import EXECUTION_REPORTS
from fleet_contracts.vocabulary import Liquidity, OrderType, SelfTrade, Side, TimeInForce, VenueOrderStand

from fleet_execution import domain
from fleet_execution.domain.reconciliation import MOST_LISTED, Reconciliation
from fleet_execution.ports import Told

from .topics import commands_to

RECORD_FACTS = 1000
"""Facts in one record: about 500 bytes each, so that it stays well below the 900 kB of an outbox row."""

_STANDS = {stand: VenueOrderStand(stand.value) for stand in domain.Stand if stand.value in set(VenueOrderStand)} | {
    domain.Stand.SENT: VenueOrderStand.UNKNOWN,
    domain.Stand.REFUSED: VenueOrderStand.REJECTED,
}


_COMMANDS = domain.Place, domain.Cancel, domain.Amend, domain.Ask


def question(asked: Reconciliation) -> tuple[Topic, str, Message]:
    query = venue.QueryVenueOpenOrders(
        query_id=asked.query_id,
        symbol=asked.symbol,
        after=asked.after,
        since_trade_id=asked.since_trade_id,
        most=MOST_LISTED,
        positions_after=asked.positions_after,
    )
    return commands_to(asked.venue), asked.symbol, query


def questions_about(keys: Iterable[domain.OrderKey]) -> Iterator[tuple[Topic, str, Message]]:
    """One for each account, which a venue answers no other's orders."""
    ordered = sorted(keys, key=lambda key: (key.venue, key.symbol, key.account_id))
    for _, group in groupby(ordered, key=lambda key: (key.venue, key.symbol, key.account_id)):
        asked = list(group)
        query = venue.QueryVenueOrders(
            venue_order_refs=tuple(key.ref for key in asked),
            account_id=asked[0].account_id,
            user_id=asked[0].user_id,
            command_sequence=0,
            symbol=asked[0].symbol,
        )
        yield commands_to(asked[0].venue), asked[0].symbol, query


@dataclass(slots=True)
class _AccountReports:
    user_id: UUID
    reports: list[execution.AnyReport] = field(default_factory=list)


def messages(told: Iterable[Told]) -> Sequence[tuple[Topic, str, Message]]:
    """What one cause says: a command each to the venue's topic, one record of reports for each account."""
    found: list[tuple[Topic, str, Message]] = []
    accounts: dict[UUID, _AccountReports] = {}
    for key, outcome, side in told:
        if isinstance(outcome, _COMMANDS):
            found.append((commands_to(key.venue), key.symbol, _command(key, outcome)))
        else:
            account = accounts.setdefault(key.account_id, _AccountReports(key.user_id))
            account.reports.append(_report(key, outcome, side))
    for account_id, account in accounts.items():
        for reports in _parts(account.reports):
            record = execution.OrderReports(account_id=account_id, user_id=account.user_id, reports=reports)
            found.append((EXECUTION_REPORTS, str(account_id), record))
    return found


def _parts(reports: Iterable[execution.AnyReport]) -> Iterator[tuple[execution.AnyReport, ...]]:
    """Cut where a record would become too long."""
    part: list[execution.AnyReport] = []
    length = 0
    for piece in (piece for report in reports for piece in _pieces(report)):
        facts = 1 + (len(piece.fills) if isinstance(piece, execution.OrderState) else 0)
        if part and length + facts > RECORD_FACTS:
            yield tuple(part)
            part, length = [], 0
        part.append(piece)
        length += facts
    if part:
        yield tuple(part)


def _pieces(report: execution.AnyReport) -> Sequence[execution.AnyReport]:
    """The state of an order with very many fills comes after them: a fill told behind an end would be one too many."""
    if isinstance(report, execution.OrderState) and len(report.fills) >= RECORD_FACTS:
        return (*report.fills, msgspec.structs.replace(report, fills=()))
    return (report,)


def _command(key: domain.OrderKey, command: domain.VenueCommand) -> Message:
    match command:
        case domain.Place(terms=terms):
            more = terms.conditions
            return venue.PlaceVenueOrder(
                venue_order_ref=key.ref,
                account_id=key.account_id,
                user_id=key.user_id,
                command_sequence=command.command_sequence,
                send_by=terms.send_by,
                symbol=key.symbol,
                side=Side(terms.side),
                order_type=OrderType(terms.order_type),
                quantity=terms.quantity,
                limit_price=terms.limit_price,
                protection_price=terms.protection_price,
                time_in_force=TimeInForce(terms.time_in_force),
                stop_price=more.stop_price,
                trail_amount=more.trail_amount,
                trail_percent=more.trail_percent,
                display_quantity=more.display_quantity,
                minimum_quantity=more.minimum_quantity,
                expires_at=more.expires_at,
                post_only=more.post_only,
                reduce_only=more.reduce_only,
                self_trade=None if more.self_trade is None else SelfTrade(more.self_trade),
                oco_group=command.oco_group,
                parent_ref=command.parent_ref,
            )
        case domain.Amend(change=change):
            return venue.ReplaceVenueOrder(
                venue_order_ref=key.ref,
                account_id=key.account_id,
                user_id=key.user_id,
                command_sequence=command.command_sequence,
                send_by=change.send_by,
                symbol=key.symbol,
                quantity=change.quantity,
                limit_price=change.limit_price,
                stop_price=change.stop_price,
                request=change.request,
            )
        case domain.Cancel():
            return venue.CancelVenueOrder(
                venue_order_ref=key.ref,
                account_id=key.account_id,
                user_id=key.user_id,
                command_sequence=command.command_sequence,
                send_by=None,
                symbol=key.symbol,
                request=command.request,
            )
        case domain.Ask():
            return venue.QueryVenueOrders(
                venue_order_refs=(key.ref,),
                account_id=key.account_id,
                user_id=key.user_id,
                command_sequence=command.command_sequence,
                symbol=key.symbol,
            )


_Refusal = execution.OrderCancelRejected | execution.OrderReplaceRejected
_REFUSALS: dict[type[domain.Fact], type[_Refusal]] = {
    domain.CancelRejected: execution.OrderCancelRejected,
    domain.ReplaceRejected: execution.OrderReplaceRejected,
}


def _report(key: domain.OrderKey, fact: domain.Fact, side: str | None) -> execution.AnyReport:
    order_id, at = key.order_id, fact.market_at
    match fact:
        case domain.Accepted():
            return execution.OrderAccepted(order_id=order_id, market_at=at, venue=key.venue)
        case domain.Rejected():
            return execution.OrderRejected(order_id=order_id, market_at=at, code=fact.code, detail=fact.detail)
        case domain.CancelRejected() | domain.ReplaceRejected():
            return _REFUSALS[type(fact)](
                order_id=order_id, market_at=at, code=fact.code, detail=fact.detail, request=fact.request
            )
        case domain.Filled():
            return _filled(key, fact, side)
        case domain.Corrected(fill=fill):
            told = msgspec.structs.asdict(_filled(key, fill, side))
            return execution.TradeCorrected(**told, revision=fill.revision, code=fact.code, detail=fact.detail)
        case domain.Canceled():
            return execution.OrderCanceled(
                order_id=order_id,
                market_at=at,
                code=fact.code,
                detail=fact.detail,
                cumulative_quantity=fact.cumulative_quantity,
            )
        case domain.Replaced():
            return execution.OrderReplaced(
                order_id=order_id,
                market_at=at,
                quantity=fact.quantity,
                limit_price=fact.limit_price,
                stop_price=fact.stop_price,
                cumulative_quantity=fact.cumulative_quantity,
                code=fact.code,
                request=fact.request,
            )
        case domain.Triggered():
            return execution.OrderTriggered(order_id=order_id, market_at=at, trigger_price=fact.trigger_price)
        case domain.Expired():
            return execution.OrderExpired(order_id=order_id, market_at=at, cumulative_quantity=fact.cumulative_quantity)
        case domain.Disowned():
            return execution.OrderUnknown(order_id=order_id, market_at=at, detail=fact.detail)
        case domain.Stated():
            return execution.OrderState(
                order_id=order_id,
                market_at=at,
                stand=VenueOrderStand.UNKNOWN if fact.stand is None else _STANDS[fact.stand],
                cumulative_quantity=fact.cumulative_quantity,
                fills=tuple(_filled(key, fill, side) for fill in fact.fills),
                code=fact.code,
                detail=fact.detail,
            )


def _filled(key: domain.OrderKey, fill: domain.Filled, side: str | None) -> execution.OrderFilled:
    return execution.OrderFilled(
        order_id=key.order_id,
        market_at=fill.market_at,
        trade_id=trade_id(key, fill.venue_trade_id),
        venue=key.venue,
        venue_trade_id=fill.venue_trade_id,
        last_quantity=fill.last_quantity,
        last_price=fill.last_price,
        cumulative_quantity=fill.cumulative_quantity,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=Liquidity(fill.liquidity),
        executed_at=fill.executed_at,
        symbol=key.symbol,
        side=None if side is None else Side(side),
    )


def trade_id(key: domain.OrderKey, venue_trade_id: str) -> UUID:
    """A fill told twice is the same trade; the two sides of one print at a venue are two."""
    return uuid5(key.ref, f"{key.venue}:{venue_trade_id}")
