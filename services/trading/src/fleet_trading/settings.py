"""Settings of trading, read from `FLEET_*`."""

from decimal import Decimal

from fleet_chassis.settings import DatabaseSettings
from pydantic import Field


class Settings(DatabaseSettings):
    trading_send_by_s: float = Field(default=5.0, gt=0)
    """An order that is not sent to its venue so long after acceptance is refused `too_late` (live feeds)."""
    trading_query_after_s: float = Field(default=5.0, gt=0)
    """Without a report so long after `send_by`, execution is asked."""
    trading_slow_path_s: float = Field(default=1.0, gt=0)
    """No order is accepted while the oldest unsent command is older than this (live feeds)."""
    trading_protection_factor: Decimal = Field(default=Decimal("1.05"), ge=1, le=2)
    """A market order is reserved at, and stopped at, the reference price times this."""
    trading_most_waiting: int = Field(default=10_000, ge=0)
    """Orders and cancels that wait to be decided; who finds as many is told to try again: forty transactions are ahead of him."""
    trading_market_wait_s: float = Field(default=10.0, ge=0)
    """So long a process that has just started holds readiness back for the first instrument and fresh price, so that an
    order sent the moment the fleet is ready is judged by a market; a paused feed must not hold it for ever."""
    trading_opening_deposit: Decimal = Field(default=Decimal(100_000), ge=0)
    trading_most_accounts: int = Field(default=20, ge=1)
    """Accounts of one user: each is walked over by what checks the books and takes their snapshots."""
    trading_call_timeout_s: float = Field(default=0.5, gt=0)
    """Of the direct call to a last gate; what does not answer within it hears by Kafka."""
    trading_cached_accounts: int = Field(default=10_000, ge=0)
    """Accounts kept in memory between transactions: about 5 kB each."""
