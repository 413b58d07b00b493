"""Market data that outlives its service: while data is away, what it said last is shown, marked as stale."""

import time
from collections import OrderedDict

import msgspec

from .answers import Answer

MOST_ANSWERS, MOST_BYTES_EACH = 500, 65_536
"""32 MB at worst."""
OLDEST_S = 300.0
"""Beyond this an old price helps nobody."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Problem(msgspec.Struct):
    code: str


_problem = msgspec.json.Decoder(_Problem)


def is_away(answer: Answer) -> bool:
    """Whether data is there, and what it needs is not. Any other 503 of it says that what it told last was wrong."""
    return answer.status == 503 and _problem.decode(answer.body).code == "unavailable"


class LastMarkets:
    """The last answers of data by path and query; they are the same for every user who may read."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, Answer]] = OrderedDict()

    def keep(self, target: str, answer: Answer) -> None:
        if answer.status == 200 and answer.rest is None and len(answer.body) <= MOST_BYTES_EACH:
            self._kept[target] = time.monotonic(), answer
            self._kept.move_to_end(target)
            if len(self._kept) > MOST_ANSWERS:
                self._kept.popitem(last=False)

    def last(self, target: str) -> Answer | None:
        """What was said last, with its `Age` (RFC 9111) and `stale` where it has such a member; None if too old."""
        kept_at, answer = self._kept.get(target, (float("-inf"), None))
        age_s = time.monotonic() - kept_at
        if answer is None or age_s > OLDEST_S:
            return None
        told = _object.decode(answer.body)
        body = msgspec.json.encode({**told, "stale": True}) if "stale" in told else answer.body
        headers = [pair for pair in answer.headers if pair[0] != b"etag"]
        return Answer(200, [*headers, (b"age", b"%d" % age_s), (b"x-stale", b"true")], body)
