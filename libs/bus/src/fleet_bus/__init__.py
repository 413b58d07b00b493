"""Work, table and live subscriptions, sequences, outbox relay, parking and due rows over Kafka and PostgreSQL."""

from fleet_chassis.internal import NothingParked

from .bus import Bus
from .commit import GroupCommitter, Overloaded
from .failures import NotYet
from .received import Received
from .subscription import Due, DueKind, Live, Watch, Work
from .table import TableView
from .transaction import Transaction

__all__ = [
    "Bus",
    "Due",
    "DueKind",
    "GroupCommitter",
    "Live",
    "NotYet",
    "NothingParked",
    "Overloaded",
    "Received",
    "TableView",
    "Transaction",
    "Watch",
    "Work",
]
