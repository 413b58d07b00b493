"""The bounds of the bus, each with its reason."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BusSettings:
    """Who this process is, and the limits it works within."""

    service: str
    ordinal: int
    kafka_url: str = field(repr=False)
    feed: str
    topic_prefix: str = ""
    """Put before every topic and group name, so that several fleets can share one Kafka."""
    max_batch: int = 500
    """Records handled in one transaction: 500 of them stay well below transaction_timeout."""
    relay_batch: int = 500
    send_deadline_s: float = 10.0
    """A stopped broker never answers by itself; after this the outcome is unknown and the row stays."""
    relay_hold_s: float = 5.0
    """Rows read longer ago are sent if the lock is still held: below idle_session_timeout, after which another may hold it."""
    relay_poll_s: float = 1.0
    """How long an outbox row of another replica can lie before the relay looks by itself."""
    backoff_first_s: float = 0.1
    backoff_most_s: float = 5.0
    bad_tries: int = 3
    not_yet_retry_s: float = 1.0
    not_yet_most_s: float = 60.0
    commit_every_s: float = 0.5
    """Offsets are an optimisation (the inbox is the truth), so they need not be committed with each batch."""
    due_poll_s: float = 1.0
    silent_after_s: float = 5.0
    """A consumer asks twice a second; with no answer for so long the process is not ready."""
    stuck_after_s: float = 30.0
    """A consumer that gets no answer, or has records ahead and gets none, for so long is built anew."""
    commit_timeout_s: float = 5.0

    @property
    def is_replay(self) -> bool:
        return self.feed == "replay"
