"""The settings of execution: those of every service with a database."""

from fleet_chassis.settings import DatabaseSettings


class Settings(DatabaseSettings):
    """Read from FLEET_*; execution adds none of its own."""
