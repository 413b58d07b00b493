"""Messages, topics and readers of the fleet: data only."""

from .message import Message, MessageTooLong, Value, encode, encode_cut
from .topics import MESSAGE_TYPES, TOPICS, Topic

__all__ = ["MESSAGE_TYPES", "TOPICS", "Message", "MessageTooLong", "Topic", "Value", "encode", "encode_cut"]
