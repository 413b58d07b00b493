"""The chain of the audit log, and the digests that sign it."""

import hashlib
from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from fleet_contracts.audit import Change

NOTHING_BEFORE = bytes(32)
"""What the first entry is chained to."""
_TYPE = "audit-digest+jws"
"""In the header, so that nothing else that auth signs with this key is taken for a digest, or a digest for that."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act, as it is kept. `acted_at` is its service's clock, `recorded_at` ours.

    A member that came later has a default and is left out where it has it, so that hashes of before hold."""

    number: int
    event_id: UUID
    service: str
    actor: str
    action: str
    target: str
    changes: tuple[Change, ...]
    reason: str | None
    request_id: str | None
    acted_at: datetime
    recorded_at: datetime
    address: str | None = None

    def hash_after(self, previous: bytes) -> bytes:
        """Of this entry and, by that of the one before, of all before it."""
        return hashlib.sha256(previous + msgspec.json.encode(self)).digest()


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """How far the log went when the day was over: up to the entry `last_number`, whose hash stands for all before."""

    day: date
    last_number: int
    last_hash: str
    entries: int
    """Added since the digest before."""
    signed_at: datetime

    @property
    def day_ended_at(self) -> datetime:
        return _midnight_after(self.day)

    def sign(self, key: Ed25519PrivateKey) -> str:
        return jwt.encode(msgspec.to_builtins(self), key, "EdDSA", headers={"typ": _TYPE})


class NotOurs(Exception):
    """Not a digest that was signed with this key."""


def read_digest(token: str, key: Ed25519PublicKey) -> Digest:
    """Raises NotOurs."""
    try:
        found = jwt.decode_complete(token, key, algorithms=["EdDSA"])
        if found["header"].get("typ") != _TYPE:
            raise NotOurs
        return msgspec.convert(found["payload"], Digest)
    except (jwt.InvalidTokenError, msgspec.ValidationError) as error:
        raise NotOurs from error


def next_midnight(now: datetime) -> datetime:
    """UTC; the digest of today is due then."""
    return _midnight_after(now.astimezone(UTC).date())


def _midnight_after(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)


def days_between(first: date, end: date) -> list[date]:
    """From `first` on, without `end`."""
    return [first + timedelta(days=n) for n in range((end - first).days)]
