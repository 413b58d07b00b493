"""Work, table and live subscriptions, sequences, outbox relay, parking and due rows over Kafka and PostgreSQL."""

from fleet_chassis.internal import NothingParked

from .bus import Bus
from .commit import GroupCommitter, Overloaded
from .failures import NotYet
from .journal import Journaled, JournalReading
from .journal_partition import CLOCK, Machine, Said
from .journal_store import Fact
from .received import Received
from .subscription import Due, DueKind, Live, Watch, Work
from .table import TableView
from .transaction import Transaction

__all__ = [
    "CLOCK",
    "Bus",
    "Due",
    "DueKind",
    "Fact",
    "GroupCommitter",
    "JournalReading",
    "Journaled",
    "Live",
    "Machine",
    "NotYet",
    "NothingParked",
    "Overloaded",
    "Received",
    "Said",
    "TableView",
    "Transaction",
    "Watch",
    "Work",
]
