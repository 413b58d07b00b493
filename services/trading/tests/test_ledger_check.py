"""The check of the books that never ends."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from fleet_bus import Due
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import MakeDatabase
from fleet_trading.events import ALARMS
from fleet_trading.store.checking import check

START = UUID(int=0)


class Opened:
    """A transaction of the bus, as far as a round needs it."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.now = datetime(2026, 1, 5, tzinfo=UTC)
        self.next = ""

    def schedule(self, kind: str, aggregate_id: str, sequence: int, clock: str, due_at: Any) -> None:
        self.next = aggregate_id


async def passed(connection: asyncpg.Connection) -> tuple[list[str], int]:
    """What one pass over all accounts finds, and in how many rounds."""
    problems: list[str] = []
    come_to, rounds = str(START), 0
    while True:
        opened: Any = Opened(connection)
        problems += await check(opened, Due("check-books", come_to, 0, opened.now))
        come_to, rounds = opened.next, rounds + 1
        if come_to == str(START):
            return problems, rounds


FILL = """
INSERT INTO accounts (account_id, user_id, name, kind, base_currency, is_default, created_at, status, version, entry_no,
    trade_no, day_open_equity)
SELECT md5(n::text)::uuid, md5(n::text)::uuid, 'Paper', 'paper', 'USD', true, now(), 'active', 1, 2, 0, 0
FROM generate_series(1, 50) AS n;
INSERT INTO balances SELECT account_id, 'USD', 100, 0 FROM accounts;
INSERT INTO entries SELECT account_id, no, account_id, CASE no % 2 WHEN 1 THEN 'client' ELSE 'funding' END, 'deposit', 'USD',
    CASE no % 2 WHEN 1 THEN 100 ELSE -100 END, NULL, 'd', now()::date, now(), now()
FROM accounts, generate_series(1, 2) AS no;
"""
LONG = """
INSERT INTO entries SELECT account_id, no, account_id, 'client', 'trade', 'USD', CASE no % 2 WHEN 1 THEN 1 ELSE -1 END, NULL,
    'd', now()::date, now(), now()
FROM (SELECT min(account_id::text)::uuid AS account_id FROM accounts) AS first, generate_series(3, 2500) AS no;
UPDATE accounts SET entry_no = 2500 WHERE account_id = (SELECT min(account_id::text)::uuid FROM accounts);
"""
_FIRST, _LAST = (f"(SELECT {end}(account_id::text)::uuid FROM accounts)" for end in ("min", "max"))
DAMAGE = {
    "a balance is not the sum": f"UPDATE balances SET total = 101 WHERE account_id = {_FIRST}",
    "reserved is not the sum": f"UPDATE balances SET reserved = 1 WHERE account_id = {_LAST}",
    "debits are not credits": f"UPDATE checked_sums SET everything = 1 WHERE account_id = {_LAST}",
    "entries are missing": f"UPDATE accounts SET entry_no = entry_no + 1 WHERE account_id = {_LAST}",
}


async def test_every_account_is_checked_and_a_long_ledger_in_several_passes(make_database: MakeDatabase) -> None:
    connection = await asyncpg.connect(await make_database("trading"))
    try:
        await connection.execute(FILL)
        assert await passed(connection) == ([], 3)
        await connection.execute(LONG)
        for come_to in (1002, 2002, 2500):
            assert (await passed(connection))[0] == []
            assert await connection.fetchval("SELECT max(entry_no) FROM checked_accounts") == come_to
        for what, damage in DAMAGE.items():
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(damage)
            (problem,), _ = await passed(connection)
            assert problem.startswith(what), (what, problem)
            await transaction.rollback()
        assert await passed(connection) == ([], 3)
    finally:
        await connection.close()


async def test_what_does_not_hold_is_an_alarm(fleet: Any) -> None:
    user = fleet.a_user()
    await fleet.accepted(user)
    connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
    try:

        def alarms() -> float:
            return float(ALARMS.labels("books_do_not_hold")._value.get())

        async def checked(after: float) -> bool:
            fleet.clock.advance(seconds=11)
            return alarms() > after

        before = alarms()
        await connection.execute(
            "UPDATE balances SET reserved = reserved + 1 WHERE account_id = $1", fleet.account_of(user)
        )
        await eventually(lambda: checked(before))
        await connection.execute(
            "UPDATE balances SET reserved = reserved - 1 WHERE account_id = $1", fleet.account_of(user)
        )
    finally:
        await connection.close()
