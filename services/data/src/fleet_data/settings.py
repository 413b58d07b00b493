"""The settings of data."""

from fleet_chassis.settings import DatabaseSettings
from fleet_contracts.exchange_connector import VENUE_SILENT_AFTER_S
from pydantic import Field


class Settings(DatabaseSettings):
    """Read from FLEET_*; data's own from FLEET_DATA_*."""

    data_quote_stale_after_s: float = Field(default=10.0, gt=0)
    """A quote of a living market is trusted so long: feeds send several a second, and reconnect within seconds."""
    data_venue_silent_after_s: float = Field(default=VENUE_SILENT_AFTER_S, gt=0)
    """The markets of a venue that has said nothing of itself for so long are unavailable."""
    data_keep_trades_s: float = Field(default=3600.0, ge=120)
    """Prints older than this are forgotten, by the market's time; the open bar needs those of the last minute."""
