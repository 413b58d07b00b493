"""The settings of core-engine."""

from fleet_chassis.settings import DatabaseSettings
from fleet_contracts.exchange_connector import VENUE_SILENT_AFTER_S
from pydantic import Field


class Settings(DatabaseSettings):
    """Read from FLEET_*; core-engine's own from FLEET_CORE_ENGINE_*."""

    core_engine_signal_max_age_s: float = Field(default=10.0, gt=0, le=50)
    """A signal older than this was raised for a market that is gone; twice the time an order has to reach its venue. What
    waits for a quote is dropped by it, before the bus gives up on what is missing, after 60 s, and sets its account aside."""
    core_engine_signals_a_minute: int = Field(default=300, ge=1)
    """Orders that one deployment may raise a minute, on live feeds: five a second, far above what bars of a minute give."""
    core_engine_heartbeat_s: float = Field(default=2.0, gt=0, le=5.0)
    """Five of them missed, trading and the last gates take only what reduces: 10 s, which two must fit in."""
    core_engine_adopt_s: float = Field(default=10.0, gt=0)
    """How often the gates are asked for states that were told without us: a look at a handful of instances."""
    core_engine_venue_silent_after_s: float = Field(default=VENUE_SILENT_AFTER_S, gt=0)
    """A venue that has said nothing of itself for so long is shown as silent."""
    core_engine_call_timeout_s: float = Field(default=0.5, gt=0)
    """For a direct call of a state or a look at an instance's health: a halt is told, or given up on, within it."""
