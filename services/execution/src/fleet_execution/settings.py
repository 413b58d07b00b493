"""The settings of execution: those of every service with a database, and how venues are compared with."""

from fleet_chassis.settings import DatabaseSettings
from fleet_contracts.exchange_connector import VENUE_SILENT_AFTER_S
from fleet_contracts.topics import VENUES
from pydantic import Field


class Settings(DatabaseSettings):
    """Read from FLEET_*."""

    execution_venues: tuple[str, ...] = VENUES
    """Orders can be sent to these, each by a pair of topics of its own."""
    execution_reconcile_every_s: float = Field(default=60.0, gt=0)
    """So long after its last question each symbol of a venue is compared with it again: what may go unseen otherwise is seen
    within that time, and that of the pages of an answer."""
    execution_answer_within_s: float = Field(default=15.0, gt=0)
    """A venue that has not answered a question so long after it was put is in doubt; each page of an answer is asked for."""
    execution_silent_after_s: float = Field(default=VENUE_SILENT_AFTER_S, gt=0)
    """A venue that has said nothing of itself for so long is in doubt until it has been compared with."""
