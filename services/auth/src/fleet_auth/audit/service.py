"""The use cases: signing the days that are over, and holding the whole log against itself and its signatures."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .domain import NOTHING_BEFORE, Digest, NotOurs, days_between, read_digest
from .store import AuditLog, all_digests, all_entries

GRACE = timedelta(hours=1)
"""So long after midnight nobody asks for the digest of the day before."""


async def sign_days(log: AuditLog, key: Ed25519PrivateKey) -> list[Digest]:
    """A digest of each day that is over and has none: more than one where auth did not run at midnight."""
    number, last_hash = await log.end()
    before = await log.last_digest()
    first = await log.first_day() if before is None else before[0] + timedelta(days=1)
    signed_through = 0 if before is None else before[1]
    made = []
    for day in [] if first is None else days_between(first, log.now.date()):
        digest = Digest(
            day=day,
            last_number=number,
            last_hash=last_hash.hex(),
            entries=number - signed_through,
            signed_at=log.now,
        )
        await log.add_digest(digest, digest.sign(key))
        signed_through = number
        made.append(digest)
    return made


@dataclass(frozen=True, slots=True)
class Verdict:
    """`signed_through`: the last entry under a good digest; what came after it is chained only, until midnight.

    `signed_late`: days that were signed long after they were over. Either auth did not run, or the end of the log was taken
    away with its digests, and what was missing signed anew: only what auth has logged of the day (`audit_day_signed`) tells."""

    entries: int
    digests: int
    signed_through: int
    signed_late: list[str]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class _Chain:
    """The entries as far as they are what was recorded, and the computed hashes of those that were asked for."""

    entries: int
    hashes: dict[int, bytes]
    first_day: date | None
    problem: str | None


async def verify(connection: asyncpg.Connection, key: Ed25519PublicKey, now: datetime) -> Verdict:
    """Computes the chain anew and holds the digests against it; tells the first entry and the first digest that differ."""
    # Read before the entries: what is signed meanwhile is not missed there.
    kept = await all_digests(connection)
    digests, problem_of_digests = _read(kept, key)
    chain = await _walk(connection, {digest.last_number for digest in digests})
    signed_through, problem_of_signatures = _compare(digests, chain)
    told = (chain.problem, problem_of_digests, problem_of_signatures)
    problems = [problem for problem in told if problem is not None]
    if chain.first_day is not None:
        days = {day for day, _ in kept}
        missing = (day for day in days_between(chain.first_day, (now - GRACE).date()) if day not in days)
        problems += [f"the digest of {day} is missing" for day in islice(missing, 1)]
    # Until then nothing else is signed.
    ahead = (digest.day for digest in digests if digest.day >= now.date())
    problems += [f"the digest of {day} was signed by a clock that was ahead" for day in islice(ahead, 1)]
    late = [str(digest.day) for digest in digests if digest.signed_at > digest.day_ended_at + GRACE]
    return Verdict(chain.entries, len(kept), signed_through, late, problems)


def _read(kept: Sequence[tuple[date, str]], key: Ed25519PublicKey) -> tuple[list[Digest], str | None]:
    """The digests before the first that is not good, and what is wrong with that."""
    digests: list[Digest] = []
    for day, token in kept:
        try:
            digest = read_digest(token, key)
        except NotOurs:
            digest = None
        if digest is None or digest.day != day:
            return digests, f"the digest of {day} is not one that auth has signed for that day"
        digests.append(digest)
    return digests, None


async def _walk(connection: asyncpg.Connection, marked: Set[int]) -> _Chain:
    number, previous, first_day, problem = 0, NOTHING_BEFORE, None, None
    hashes = {}
    async for one in all_entries(connection):
        computed = one.entry.hash_after(previous)
        if one.entry.number != number + 1:
            problem = f"entry {number + 1} is missing"
        elif computed != one.hash:
            problem = f"entry {number + 1} is not as it was recorded"
        if problem is not None:
            break
        number, previous = number + 1, computed
        first_day = first_day or one.entry.recorded_at.date()
        if number in marked:
            hashes[number] = computed
    return _Chain(number, hashes, first_day, problem)


def _compare(digests: Sequence[Digest], chain: _Chain) -> tuple[int, str | None]:
    """The last entry under a signature that holds, and what the first that does not hold says."""
    through = 0
    for digest in digests:
        if chain.problem is not None and digest.last_number > chain.entries:
            break  # It cannot be judged, and what comes before it is told already.
        found = chain.hashes.get(digest.last_number)
        if found is None or found.hex() != digest.last_hash:
            return (
                through,
                f"entries {through + 1} to {digest.last_number} are not those that were signed for {digest.day}",
            )
        through = digest.last_number
    return through, None
