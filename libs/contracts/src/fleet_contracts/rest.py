"""What a service tells at `GET /internal/rest`: its part of whether the fleet is at rest."""

from datetime import datetime

import msgspec

from .message import Value


class ParkedKey(Value, frozen=True, kw_only=True):
    """`messages`: as many as wait; in a `RestPart`, counted to 100."""

    subscription: str
    topic: str
    key: str
    is_not_yet: bool
    messages: int
    reason: str


class Behind(Value, frozen=True, kw_only=True):
    """`records` are ahead in the partitions of this process; the oldest was written `seconds` ago at the most (None: none of
    them has been read yet)."""

    records: int
    seconds: float | None


class RestPart(Value, frozen=True, kw_only=True):
    """`positions`: topic → partition → next offset to handle, the lowest of this process's subscriptions of it.

    A work subscription tells only the partitions it is assigned; `due` counts the rows due at or before their clock;
    `busy` what is being handled. `behind`: how far each subscription is behind, None while it does not hear Kafka. `version`
    rises with every change, so that a reader may wait for the next one."""

    service: str
    ordinal: int
    started_at: datetime
    outbox: int
    positions: dict[str, dict[str, dict[int, int]]]
    due: int
    busy: int
    parked: tuple[ParkedKey, ...]
    market_at: datetime | None
    version: int
    behind: dict[str, Behind | None] = msgspec.field(default_factory=dict)
