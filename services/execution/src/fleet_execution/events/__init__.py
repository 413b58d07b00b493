"""The domain's facts and commands as contract messages, and back."""

from .heard import AnyCommand, change_of, fact_of, key_of, legs_of, listing_of, refs_of, terms_of, twap_of
from .said import messages, question, questions_about, trade_id
from .topics import commands_to, reports_of, statuses

__all__ = [
    "AnyCommand",
    "change_of",
    "commands_to",
    "fact_of",
    "key_of",
    "legs_of",
    "listing_of",
    "messages",
    "question",
    "questions_about",
    "refs_of",
    "reports_of",
    "statuses",
    "terms_of",
    "trade_id",
    "twap_of",
]
