"""The settings of exchange-connector, read from FLEET_*."""

from typing import Self

from fleet_chassis.settings import DatabaseSettings
from pydantic import Field, model_validator


class Settings(DatabaseSettings):
    """Its own begin with FLEET_EXCHANGE_CONNECTOR_."""

    exchange_connector_seed: int = Field(default=20110301, ge=0)
    """Of the simulated market: the same seed, opening minute and prices make the same market."""
    exchange_connector_quote_interval_ms: int = Field(default=400, ge=100, le=5_000)
    """How long a simulated quote stands: lively to look at, and well below the 10 a second that readers take. The feed's
    session, which ends after 10 s of silence, is used with each."""
    exchange_connector_history_days: int = Field(default=30, ge=0, le=365)
    exchange_connector_history_interval_ms: int = Field(default=400, ge=0)
    """Between two records of history: 210 of them take a minute and a half and leave the machine to its users."""
    exchange_connector_heartbeat_s: float = Field(default=5.0, ge=0.5)

    @model_validator(mode="after")
    def _divides_a_minute(self) -> Self:
        if 60_000 % self.exchange_connector_quote_interval_ms:
            raise ValueError("a minute must be a whole number of quote intervals")
        return self

    @property
    def stretches(self) -> int:
        """Quotes a minute."""
        return 60_000 // self.exchange_connector_quote_interval_ms
