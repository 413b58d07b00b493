"""The settings of strategy: those of every service with a database."""

from fleet_chassis.settings import DatabaseSettings


class Settings(DatabaseSettings):
    """Read from FLEET_*; strategy adds none of its own."""
