"""The settings of strategy, read from FLEET_*."""

from fleet_chassis.settings import DatabaseSettings
from pydantic import Field


class Settings(DatabaseSettings):
    """Its own begin with FLEET_STRATEGY_."""

    strategy_deployments_a_user: int = Field(default=100, ge=1)
    """That are not stopped: the steps of all users run in turn, in one process, so nobody may fill them alone."""
