"""`python -m fleet_trading.admin verify`: checks the books of the database named by FLEET_DATABASE_URL.

Prints one JSON object; exit code 0 if the books hold, 1 if not."""

import asyncio
import os
import sys

import asyncpg
from fleet_contracts.encoding import encode_json

from .verify import Verdict, verify

LONGEST_STATEMENT = {"statement_timeout": "300s", "transaction_timeout": "300s", "application_name": "trading-admin"}


async def _verify(url: str) -> Verdict:
    connection = await asyncpg.connect(url, server_settings=LONGEST_STATEMENT)
    try:
        return await verify(connection)
    finally:
        await connection.close()


def main(arguments: list[str]) -> int:
    url = os.environ.get("FLEET_DATABASE_URL")
    if arguments != ["verify"] or not url:
        sys.stderr.write("usage: FLEET_DATABASE_URL=postgresql://… python -m fleet_trading.admin verify\n")
        return 2
    verdict = asyncio.run(_verify(url))
    sys.stdout.buffer.write(encode_json({"ok": not verdict.problems, **_shown(verdict)}) + b"\n")
    return 1 if verdict.problems else 0


def _shown(verdict: Verdict) -> dict[str, object]:
    return {"totals": verdict.totals, "counts": verdict.counts, "problems": verdict.problems}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
