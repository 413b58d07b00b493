"""What the simulated exchange tells, in the venue's words."""

from datetime import UTC, datetime
from uuid import UUID

from fleet_exchange_connector.domain.instruments import offered
from fleet_exchange_connector.domain.orders import ReportKind, Stand
from fleet_exchange_connector.domain.reporting import Reporter
from fleet_simulator import Accepted, Filled, Liquidity, Replaced


def test_a_leg_that_is_full_when_its_order_ends_stands_as_filled() -> None:
    ref, account, symbol = str(UUID(int=1)), str(UUID(int=2)), "AAPL/USD"
    reporter = Reporter(offered("simulated")[symbol])
    fill = Filled(ref, account, 0, 1, 3, 1_000_000, 3, 0, Liquidity.MAKER)
    grown = Replaced(ref, account, 0, 3, 1_000_000, None, "parent_filled")
    last = Replaced(ref, account, 0, 3, 1_000_000, None, "parent_ended")
    reports = reporter.tell([Accepted(ref, account, 0), grown, fill], {ref}, datetime(2026, 1, 5, tzinfo=UTC))
    assert {report.status.stand for report in reports} == {Stand.WORKING}
    (report,) = reporter.tell([last], (), datetime(2026, 1, 5, tzinfo=UTC))
    assert (report.kind, report.status.stand) == (ReportKind.REPLACED, Stand.FILLED)
    assert report.status.cumulative_quantity == 3
