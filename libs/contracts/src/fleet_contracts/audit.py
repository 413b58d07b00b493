"""What administrators and operators did. Told by the service in which it was done, kept by auth."""

from datetime import datetime
from typing import ClassVar

from .message import Message, Value


class AuditMessage(Message, frozen=True, kw_only=True):
    owner: ClassVar[str] = "audit"


class Change(Value, frozen=True, kw_only=True):
    """`before` None: there was nothing, or it has no before. `after` None: it was taken away."""

    name: str
    before: str | None = None
    after: str | None = None


class AdminActed(AuditMessage, frozen=True, kw_only=True):
    """Published in the transaction of the act, by every service on a topic of its own.

    `actor`: a user's id, `cli:<name>` for who ran the command line, or the service where it acted by itself. `action`:
    `<noun>.<past tense>`. `address`: where the gateway saw the actor (of IPv6 the /64). Nothing secret is said of an act, and
    of people no more than that."""

    actor: str
    action: str
    target: str
    changes: tuple[Change, ...]
    reason: str | None
    request_id: str | None
    address: str | None = None
    at: datetime
