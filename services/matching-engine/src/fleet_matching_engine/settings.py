"""The settings of matching-engine, read from FLEET_*."""

from decimal import Decimal
from typing import Literal

from fleet_calendars import names
from fleet_chassis.settings import DatabaseSettings
from pydantic import Field, field_validator

from fleet_matching_engine.domain.rules import Rules


class Settings(DatabaseSettings):
    """Its own begin with FLEET_MATCHING_ENGINE_. A change of the venue's rules is written into the journal."""

    matching_engine_book: Literal["fast", "naive"] = "fast"
    """The book's engine: compiled, or the plain one that it must agree with."""
    matching_engine_band_percent: Decimal = Field(default=Decimal(10), gt=0, lt=100)
    """How far from the reference price an order may be priced, either way."""
    matching_engine_max_notional: Decimal = Field(default=Decimal(10_000_000), gt=0)
    """Of one order, in its quote currency: a hundred times what an account opens with."""
    matching_engine_rate_messages: int = Field(default=200, ge=1)
    """New and replaced orders a second of one account, with a burst of as many; twice what the gateway lets through."""
    matching_engine_self_trade: Literal["cancel_newest", "cancel_oldest", "cancel_both", "decrement"] = "cancel_newest"
    """What happens when an order that does not say it itself meets one of its own account."""
    matching_engine_calendars: dict[str, str] = Field(default_factory=dict)
    """When a symbol is traded, as {"AAPL/USD": "XNYS"}; others round the clock."""
    matching_engine_snapshot_every: int = Field(default=50_000, ge=1)
    """Commands between two snapshots: what a new owner replays at the most, a few seconds' work."""
    matching_engine_heartbeat_s: float = Field(default=5.0, ge=0.5)
    matching_engine_call_timeout_s: float = Field(default=1.0, gt=0)
    """For another instance to show a book: it has it in memory."""

    @property
    def rules(self) -> Rules:
        return Rules(
            band=self.matching_engine_band_percent / 100,
            max_notional=self.matching_engine_max_notional,
            rate=self.matching_engine_rate_messages,
            self_trade=self.matching_engine_self_trade,
            is_replay=self.feed == "replay",
        )

    @field_validator("matching_engine_calendars")
    @classmethod
    def _are_known(cls, given: dict[str, str]) -> dict[str, str]:
        unknown = set(given.values()) - set(names())
        if unknown:
            raise ValueError(f"calendars are {', '.join(names())}, was {', '.join(sorted(unknown))}")
        return given
