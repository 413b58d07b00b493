"""What the simulated exchange core tells, in the venue's words, Decimals and times."""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

import fleet_simulator as core
from fleet_simulator.reasons import DETAILS, code_of
from msgspec.structs import replace

from fleet_exchange_connector.domain.instruments import Instrument
from fleet_exchange_connector.domain.orders import Change, Fill, Report, ReportKind, Stand, Status
from fleet_exchange_connector.domain.times import from_ns

_REFUSALS: dict[type[core.Event], tuple[ReportKind, Stand]] = {
    core.Rejected: (ReportKind.REJECTED, Stand.REJECTED),
    core.CancelRejected: (ReportKind.CANCEL_REJECTED, Stand.UNKNOWN),
    core.ReplaceRejected: (ReportKind.REPLACE_REJECTED, Stand.UNKNOWN),
}

# What is told of an order is told more than once, and of an account's orders all the time.
_uuid = lru_cache(maxsize=4_096)(UUID)


@dataclass(slots=True)
class _Progress:
    """Of an open order: `filled` lots, in so many fills."""

    filled: int = 0
    fills: int = 0


class Reporter:
    """Of one symbol; it keeps of each open order what a later report needs."""

    def __init__(self, instrument: Instrument) -> None:
        self._quote = instrument.quote
        self._scale = instrument.scale
        self._progress: dict[str, _Progress] = {}

    def fills(self, ref: str) -> int:
        """How many an open order has had."""
        return self._progress[ref].fills

    def restore(self, orders: Iterable[tuple[str, int, int]]) -> None:
        """(reference, filled lots, fills) of each open order."""
        self._progress = {ref: _Progress(filled, fills) for ref, filled, fills in orders}

    def tell(self, events: Sequence[core.Event], is_open: Container[str], now: datetime) -> list[Report]:
        """`is_open` has the orders that are open after all of these events; `now` is the wall time of their cause."""
        reports = [report for event in events for report in self._report(event, is_open, now)]
        for event in events:
            if event.order_ref not in is_open:
                self._progress.pop(event.order_ref, None)
        return reports

    def _report(self, event: core.Event, is_open: Container[str], now: datetime) -> Iterator[Report]:
        match event:
            case (
                core.Rejected(reason=reason) | core.CancelRejected(reason=reason) | core.ReplaceRejected(reason=reason)
            ):
                kind, stand = _REFUSALS[type(event)]
                yield _said(kind, event, _ended(stand, reason, Decimal(0)))
                return
            case core.Accepted():
                self._progress[event.order_ref] = _Progress()
        progress = self._progress[event.order_ref]
        filled = self._scale.quantity(progress.filled)
        working = Status(stand=Stand.WORKING, cumulative_quantity=filled)
        match event:
            case core.Accepted():
                yield _said(ReportKind.ACCEPTED, event, working)
            case core.Filled():
                yield self._filled(event, progress, event.order_ref in is_open, now)
            case core.Triggered():
                said = _said(ReportKind.TRIGGERED, event, working)
                yield replace(said, trigger_price=self._scale.price(event.price))
            case core.Replaced():
                # A leg that is full is told so when the order it waited for has ended.
                is_last = event.reason == "parent_ended"
                status = Status(stand=Stand.FILLED, cumulative_quantity=filled) if is_last else working
                yield replace(_said(ReportKind.REPLACED, event, status), change=self._change(event))
            case core.Canceled():
                yield _said(ReportKind.CANCELED, event, _ended(Stand.CANCELED, event.reason, filled))
            case core.Expired():
                yield _said(ReportKind.EXPIRED, event, Status(stand=Stand.EXPIRED, cumulative_quantity=filled))

    def _filled(self, event: core.Filled, progress: _Progress, is_open: bool, now: datetime) -> Report:
        scale = self._scale
        progress.filled = event.cumulative_quantity
        progress.fills += 1
        cumulative = scale.quantity(event.cumulative_quantity)
        status = Status(stand=Stand.WORKING if is_open else Stand.FILLED, cumulative_quantity=cumulative)
        report = _said(ReportKind.FILLED, event, status)
        fill = Fill(
            venue_order_ref=report.venue_order_ref,
            account_id=report.account_id,
            number=progress.fills,
            quantity=scale.quantity(event.last_quantity),
            price=scale.price(event.last_price),
            cumulative_quantity=cumulative,
            fee=scale.fee(event.fee),
            fee_currency=self._quote,
            liquidity=event.liquidity,
            executed_at=now,
            market_at=report.market_at,
        )
        return replace(report, fill=fill)

    def _change(self, event: core.Replaced) -> Change:
        def price(ticks: int | None) -> Decimal | None:
            return None if ticks is None else self._scale.price(ticks)

        return Change(
            quantity=self._scale.quantity(event.quantity),
            limit_price=price(event.limit_price),
            stop_price=price(event.stop_price),
            code=event.reason,
        )


def _said(kind: ReportKind, event: core.Event, status: Status) -> Report:
    return Report(
        kind=kind,
        venue_order_ref=_uuid(event.order_ref),
        account_id=_uuid(event.account_id),
        market_at=from_ns(event.market_at),
        status=status,
    )


def _ended(stand: Stand, reason: str, filled: Decimal) -> Status:
    code = code_of(reason)
    return Status(stand=stand, cumulative_quantity=filled, code=code, detail=DETAILS[code])
