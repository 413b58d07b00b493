"""The dated table of one exchange, as it is packaged: `tables/<MIC>.yaml`, all times the exchange's own."""

from datetime import date, time
from functools import lru_cache
from importlib.resources import files
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Hours(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From `since` on, until the next entry."""

    since: date
    opens: time
    closes: time


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Covers `first_day` to `last_day`. `sources` say where the dates are from; `hours` are in order of `since`."""

    name: str
    sources: tuple[str, ...]
    zone: str
    first_day: date
    last_day: date
    weekdays: frozenset[Weekday]
    hours: tuple[Hours, ...]
    early_closes: dict[date, time] = {}
    holidays: frozenset[date]

    def __post_init__(self) -> None:
        since = [hours.since for hours in self.hours]
        if not since or since[0] > self.first_day or since != sorted(since):
            raise ValueError("hours begin with the first day and are in order")
        if any(hours.opens >= hours.closes for hours in self.hours):
            raise ValueError("a session closes after it opens, on the same day")
        if any(not self.first_day <= day <= self.last_day for day in (*self.holidays, *self.early_closes)):
            raise ValueError("a holiday or an early close lies outside of the table")

    @property
    def zoneinfo(self) -> ZoneInfo:
        return _zone(self.zone)

    def times(self, day: date) -> tuple[time, time] | None:
        """When the exchange opens and closes on a day of the table; None: it does not."""
        if day in self.holidays or _WEEKDAYS[day.weekday()] not in self.weekdays:
            return None
        hours = next(hours for hours in reversed(self.hours) if hours.since <= day)
        return hours.opens, self.early_closes.get(day, hours.closes)


@lru_cache(maxsize=64)
def _zone(key: str) -> ZoneInfo:
    """Of the locked package and not of the machine, as all machines must agree: one from before 2023 does not know Egypt's
    daylight saving, and would have Cairo open an hour late."""
    with (files("tzdata") / "zoneinfo" / key).open("rb") as data:
        return ZoneInfo.from_file(data, key)


@lru_cache(maxsize=64)
def load(calendar: str) -> Table:
    """Raises FileNotFoundError where there is none of this name."""
    # A name is a file's only if it is one of those packaged: it comes from messages and settings.
    if calendar not in table_names():
        raise FileNotFoundError(calendar)
    return msgspec.yaml.decode((files(__package__) / "tables" / f"{calendar}.yaml").read_bytes(), type=Table)


@lru_cache(maxsize=1)
def table_names() -> tuple[str, ...]:
    entries = (files(__package__) / "tables").iterdir()
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml")))
