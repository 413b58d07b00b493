"""Work, table and live subscriptions, sequences, outbox relay, parking and due rows over Kafka and PostgreSQL."""

from fleet_chassis.internal import NothingParked

from .auditing import tell_acted
from .bus import Bus
from .commit import GroupCommitter, Overloaded
from .failures import NotYet
from .glance import Glance
from .journal import JournalReading
from .journal_partition import CLOCK, Machine, Said
from .journal_store import Fact
from .journaled import Archive, Journaled
from .received import Received, Record
from .subscription import Due, DueKind, Live, Watch, Work, housekeeping
from .table import TableView
from .transaction import Transaction

__all__ = [
    "CLOCK",
    "Archive",
    "Bus",
    "Due",
    "DueKind",
    "Fact",
    "Glance",
    "GroupCommitter",
    "JournalReading",
    "Journaled",
    "Live",
    "Machine",
    "NotYet",
    "NothingParked",
    "Overloaded",
    "Received",
    "Record",
    "Said",
    "TableView",
    "Transaction",
    "Watch",
    "Work",
    "housekeeping",
    "tell_acted",
]
