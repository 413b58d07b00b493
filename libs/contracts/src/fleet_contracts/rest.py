"""What a service tells at `GET /internal/rest`: its part of whether the fleet is at rest."""

from datetime import datetime

from .message import Value


class ParkedKey(Value, frozen=True, kw_only=True):
    subscription: str
    topic: str
    key: str
    is_not_yet: bool
    messages: int
    reason: str


class RestPart(Value, frozen=True, kw_only=True):
    """`positions`: topic → partition → next offset to handle, the lowest of this process's subscriptions of it.

    A work subscription tells only the partitions it is assigned; `due` counts the rows due at or before their clock;
    `busy` what is being handled. `version` rises with every change, so that a reader may wait for the next one."""

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
