"""`make calendars`: writes the tables of the exchanges that exchange_calendars knows.

The package brings pandas and 75 MB into a process; what is needed of it are dates, and those are packaged."""

from __future__ import annotations

from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path

import exchange_calendars

TABLES = Path(__file__).resolve().parent.parent / "libs/calendars/src/fleet_calendars/tables"
EXCHANGES = {"XNYS": "New York Stock Exchange"}
FIRST, LAST = date(2000, 1, 1), date(2028, 12, 31)
"""From the first bars of the packaged history to the last year that the exchange has published."""


def main() -> None:
    for code, name in EXCHANGES.items():
        calendar = exchange_calendars.get_calendar(code, start=FIRST.isoformat(), end=LAST.isoformat())
        schedule = calendar.schedule
        zone = str(calendar.tz)
        hours = {
            day.date(): (
                row.open.tz_convert(zone).strftime("%H:%M:%S"),
                row.close.tz_convert(zone).strftime("%H:%M:%S"),
            )
            for day, row in schedule.iterrows()
        }
        opens, closes = max(hours.values(), key=list(hours.values()).count)
        if any(found[0] != opens for found in hours.values()):
            raise SystemExit(f"{code} has days that open late, which the table cannot say")
        days = (FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1))
        lines = [
            f"name: {name}",
            "sources:",
            f'  - "exchange_calendars {version("exchange_calendars")}, written by make calendars"',
            f"zone: {zone}",
            f"first_day: {FIRST}",
            f"last_day: {LAST}",
            "weekdays: [mon, tue, wed, thu, fri]",
            "hours:",
            f'  - {{since: {FIRST}, opens: "{opens}", closes: "{closes}"}}',
            "early_closes:",
            *(f'  {day}: "{found[1]}"' for day, found in hours.items() if found[1] != closes),
            "holidays:",
            *(f"  - {day}" for day in days if day.weekday() < 5 and day not in hours),
        ]
        (TABLES / f"{code}.yaml").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
