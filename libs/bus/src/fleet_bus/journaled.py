"""What a service says of its journal: the log, the machine that it drives, and what that need not keep in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fleet_contracts import Topic

from .journal_partition import Machine
from .journal_store import Fact
from .received import Record


class Archive(Protocol):
    """Rows of what a machine no longer changes. They follow from the journal, so writing them again changes nothing."""

    async def recall(self, machine: Any, records: Sequence[Record]) -> None:
        """Hands the machine what these records may ask for, before it obeys them, in a replay too."""

    async def keep(self, machine: Any, upto: int) -> None:
        """Stores what has ended before this offset, then has the machine forget it: its snapshot is taken next.

        That may fail: whoever then begins at the snapshot before must not be handed what lies ahead of it."""


@dataclass(frozen=True, slots=True)
class Journaled:
    """A topic that is the journal of one machine a partition, in the group `<service>.<name>`.

    `machine` makes an empty one for a partition. `wanted`: the facts that hold in the world and that this machine has not
    learned, asked before each batch; they are stored first and learned then. `ticks`: whether time is told as a fact (not
    on a replay).
    """

    name: str
    topic: Topic
    machine: Callable[[int], Machine]
    wanted: Callable[[Any], Sequence[Fact]]
    ticks: bool = True
    snapshot_every: int = 50_000
    """Records between two snapshots: what a new owner replays at the most, a few seconds' work."""
    fork_from_bytes: int = 1 << 20
    """Where the last snapshot was this large, the next one is encoded by a child of the process: a quarter of a second at
    the most is spent on one in the loop, a million orders take three to five."""
    archive: Archive | None = None
