"""Instruments and their listings at venues."""

from collections.abc import Sequence
from dataclasses import astuple, fields

import asyncpg
from fleet_bus import Transaction
from fleet_contracts.topics import DATA_INSTRUMENTS

from fleet_data.domain.candles import TIMEFRAME_MINUTES
from fleet_data.domain.instruments import Instrument, Terms
from fleet_data.events import instrument_defined

_TERMS = ", ".join(field.name for field in fields(Terms))
_LOCK = """
SELECT symbol, reference_venue, version FROM instruments WHERE symbol = ANY($1::text[]) ORDER BY symbol FOR UPDATE
"""
_LISTINGS = f"SELECT symbol, venue, {_TERMS} FROM listings WHERE symbol = ANY($1::text[])"  # noqa: S608 (constants)
_LIST = f"""
INSERT INTO listings (symbol, venue, {_TERMS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
ON CONFLICT (symbol, venue) DO UPDATE
SET ({_TERMS}) = ROW ({", ".join(f"excluded.{field.name}" for field in fields(Terms))})
"""  # noqa: S608 (constants)
_SAVE = "UPDATE instruments SET reference_venue = $2, version = $3 WHERE symbol = $1"


class PostgresInstrumentUnitOfWork:
    """The instruments that a batch touches, by symbol. A new one gets the rows that its bars and quotes are locked by."""

    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction
        self._instruments: dict[str, Instrument] = {}
        self._published: dict[str, int] = {}
        self._listed: dict[tuple[str, str], Terms] = {}

    async def lock(self, ids: Sequence[str]) -> None:
        connection = self._tx.connection
        rows = await connection.fetch(_LOCK, ids)
        if len(rows) < len(ids):
            await _add(connection, ids)
            rows = await connection.fetch(_LOCK, ids)
        listings: dict[str, dict[str, Terms]] = {}
        for symbol, venue, *terms in await connection.fetch(_LISTINGS, ids):
            listings.setdefault(symbol, {})[venue] = Terms(
                **dict(zip((field.name for field in fields(Terms)), terms, strict=True))
            )
        for symbol, reference_venue, version in rows:
            self._instruments[symbol] = Instrument(symbol, listings.get(symbol, {}), reference_venue, version)
            self._published[symbol] = version

    def instrument(self, symbol: str) -> Instrument:
        return self._instruments[symbol]

    def list_at(self, instrument: Instrument, venue: str, terms: Terms) -> None:
        self._instruments[instrument.symbol] = instrument
        self._listed[(instrument.symbol, venue)] = terms

    async def flush(self) -> None:
        connection = self._tx.connection
        for (symbol, venue), terms in sorted(self._listed.items(), key=lambda listed: listed[0]):
            await connection.execute(_LIST, symbol, venue, *astuple(terms))
        for symbol, instrument in self._instruments.items():
            await connection.execute(_SAVE, symbol, instrument.reference_venue, instrument.version)
            if instrument.version > self._published[symbol]:
                self._tx.publish(DATA_INSTRUMENTS, symbol, instrument_defined(instrument))


async def _add(connection: asyncpg.Connection, symbols: Sequence[str]) -> None:
    await connection.execute(
        "INSERT INTO instruments (symbol) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", symbols
    )
    await connection.execute("INSERT INTO quotes (symbol) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", symbols)
    await connection.execute(
        "INSERT INTO bar_positions (symbol, timeframe) SELECT * FROM unnest($1::text[]) AS s, unnest($2::text[]) AS t"
        " ON CONFLICT DO NOTHING",
        symbols,
        list(TIMEFRAME_MINUTES),
    )
