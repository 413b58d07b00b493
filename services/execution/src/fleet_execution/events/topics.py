"""Where venues and their status are heard of and spoken to."""

from functools import lru_cache

from fleet_contracts import Topic
from fleet_contracts.exchange_connector import VenueStatus
from fleet_contracts.topics import TOPICS, venue_commands, venue_reports

_DECLARED = {topic.name: topic for topic in TOPICS}


@lru_cache
def commands_to(venue_name: str) -> Topic:
    """The topic of commands to a venue; one that the fleet has not of itself has it from the template."""
    return _DECLARED.get(f"venue.{venue_name}.commands") or venue_commands(venue_name)


def reports_of(venue_name: str) -> Topic:
    return _DECLARED.get(f"venue.{venue_name}.reports") or venue_reports(venue_name)


def statuses() -> tuple[Topic, ...]:
    """Where venues say of themselves that they are there: topics of those who serve them."""
    return tuple(
        topic
        for topic in TOPICS
        if VenueStatus in topic.messages and any(reader.service == "execution" for reader in topic.readers)
    )
