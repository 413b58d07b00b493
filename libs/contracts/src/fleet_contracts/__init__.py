"""Messages, topics and readers of the fleet: data only."""

from .message import Message, Value, encode
from .topics import MESSAGE_TYPES, TOPICS, Topic

__all__ = ["MESSAGE_TYPES", "TOPICS", "Message", "Topic", "Value", "encode"]
