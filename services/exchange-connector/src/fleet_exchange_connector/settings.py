"""The settings of exchange-connector, read from FLEET_*."""

from typing import Any, Self

from fleet_chassis.settings import DatabaseSettings
from fleet_simulator import BarPath, Models, models_of
from fleet_simulator.models import FLAT, NONE
from pydantic import Field, ValidationInfo, field_validator, model_validator


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

    exchange_connector_volume_share: str | None = None
    """What all orders together may take of a quote's size or a bar's volume. By default all of a quote's size, as it is
    what there is; on a replay no bound, as a bar's volume is not what stood at its prices."""
    exchange_connector_slippage: str = NONE
    """By default none: who takes from a simulated quote pays its spread, and what it has not enough for the next ones'."""
    exchange_connector_fees: str = FLAT
    exchange_connector_latency: str = NONE
    """How long a command is on its way, beside the time that it takes."""
    exchange_connector_bar_path: BarPath = BarPath.NEARER_EXTREME

    @field_validator(*(f"exchange_connector_{what}" for what in ("volume_share", "slippage", "fees", "latency")))
    @classmethod
    def _names_a_model(cls, name: str | None, info: ValidationInfo) -> str | None:
        assert info.field_name is not None
        named: dict[str, Any] = {info.field_name.removeprefix("exchange_connector_"): name}
        if models_of(**named).latency is not None and info.data.get("feed") == "replay":
            raise ValueError("on a replay every command waits for the next open; a latency is for the simulated feed")
        return name

    @model_validator(mode="after")
    def _divides_a_minute(self) -> Self:
        if 60_000 % self.exchange_connector_quote_interval_ms:
            raise ValueError("a minute must be a whole number of quote intervals")
        return self

    @property
    def models(self) -> Models:
        """What the venue's markets assume; fleet_simulator.models has the names."""
        share = self.exchange_connector_volume_share
        return models_of(
            fees=self.exchange_connector_fees,
            volume_share=share or (NONE if self.feed == "replay" else "1"),
            slippage=self.exchange_connector_slippage,
            latency=self.exchange_connector_latency,
            bar_path=self.exchange_connector_bar_path,
            seed=self.exchange_connector_seed,
        )

    @property
    def stretches(self) -> int:
        """Quotes a minute."""
        return 60_000 // self.exchange_connector_quote_interval_ms
