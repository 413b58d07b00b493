"""What the simulated exchange tells, in the venue's words."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from fleet_bus import Transaction
from fleet_exchange_connector.domain.instruments import offered
from fleet_exchange_connector.domain.orders import Report, ReportKind, Restriction, Stand, Status
from fleet_exchange_connector.domain.reporting import Reporter
from fleet_exchange_connector.ports import BookListed, Event, OrdersReported
from fleet_exchange_connector.store.books import BookCache
from fleet_exchange_connector.store.unit_of_work import Stores, UnitOfWork
from fleet_simulator import Accepted, Filled, Liquidity, Replaced, models_of

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def test_a_leg_that_is_full_when_its_order_ends_stands_as_filled() -> None:
    ref, account, symbol = str(UUID(int=1)), str(UUID(int=2)), "AAPL/USD"
    reporter = Reporter(offered("simulated")[symbol])
    fill = Filled(ref, account, 0, 1, 3, 1_000_000, 3, 0, Liquidity.MAKER)
    grown = Replaced(ref, account, 0, 3, 1_000_000, None, "parent_filled")
    last = Replaced(ref, account, 0, 3, 1_000_000, None, "parent_ended")
    reports = reporter.tell([Accepted(ref, account, 0), grown, fill], {ref}, NOW)
    assert {report.status.stand for report in reports} == {Stand.WORKING}
    (report,) = reporter.tell([last], (), NOW)
    assert (report.kind, report.status.stand) == (ReportKind.REPLACED, Stand.FILLED)
    assert report.status.cumulative_quantity == 3


async def test_what_a_batch_does_to_a_symbols_orders_is_told_in_one_record_before_anything_else() -> None:
    said: list[Event] = []
    stores = Stores(
        {},
        models_of(),
        None,
        BookCache(),
        None,
        lambda *_: Restriction.NONE,
        lambda *_: False,
        lambda _, e: said.append(e),
    )
    nowhere: Any = None
    work = UnitOfWork(Transaction(nowhere, NOW), stores)

    def report(number: int) -> Report:
        ref, status = UUID(int=number), Status(stand=Stand.WORKING)
        return Report(kind=ReportKind.ACCEPTED, venue_order_ref=ref, account_id=ref, market_at=NOW, status=status)

    for symbol, number in (("A", 1), ("B", 2), ("A", 3)):
        work.publish(OrdersReported(symbol, [report(number)]))
    listed = BookListed(UUID(int=9), "A", NOW, [], False, [], False, "none", [], False)
    work.publish(listed)
    work.publish(OrdersReported("A", [report(4)]))
    await work.flush()
    together = [OrdersReported("A", [report(1), report(3)]), OrdersReported("B", [report(2)])]
    assert said == [*together, listed, OrdersReported("A", [report(4)])]
