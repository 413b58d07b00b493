"""How far each series of bars has come, and the steps that wait for the last of their bars.

How that is done without losing a step, and why it is written in two services, data's `store/bars.py` tells."""

from collections.abc import Sequence
from datetime import datetime

from fleet_bus import Transaction
from fleet_contracts.topics import CORE_ENGINE_MARKET, CORE_ENGINE_ORDER_REQUESTS
from fleet_contracts.vocabulary import TradingStateWord
from fleet_gate import States

from fleet_core_engine.domain.bars import Series, Step
from fleet_core_engine.events import step_ended

from .states import restrictions

_LOCK = """
SELECT p.symbol, p.timeframe, p.close_at FROM bar_positions p
JOIN unnest($1::text[], $2::text[]) AS touched (symbol, timeframe) USING (symbol, timeframe)
ORDER BY p.symbol, p.timeframe FOR NO KEY UPDATE OF p
"""
_ADD = """
INSERT INTO bar_positions (symbol, timeframe) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING
"""
_READ = """
SELECT p.symbol, p.timeframe, p.close_at FROM bar_positions p
JOIN unnest($1::text[], $2::text[]) AS named (symbol, timeframe) USING (symbol, timeframe)
"""
_ADVANCE = """
UPDATE bar_positions p SET close_at = n.close_at
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS n (symbol, timeframe, close_at)
WHERE p.symbol = n.symbol AND p.timeframe = n.timeframe
"""
_LOCK_STEPS = """
SELECT timeframe, market_at, step, symbols, replay_id FROM pending_steps
WHERE timeframe = ANY($1::text[]) AND symbols && $2::text[] ORDER BY market_at, timeframe, step FOR UPDATE
"""
_ADD_STEPS = """
INSERT INTO pending_steps (timeframe, market_at, step, symbols, replay_id) VALUES ($1, $2, $3, $4, $5)
"""
_DROP_STEPS = "DELETE FROM pending_steps WHERE timeframe = $1 AND market_at = $2 AND step = $3"


class PostgresMarketUnitOfWork:
    """The series that a batch touches. Ids are `<symbol>|<timeframe>`. `is_replay`: trading hears of steps, too."""

    def __init__(self, transaction: Transaction, *, is_replay: bool) -> None:
        self.transaction = transaction
        self._is_replay = is_replay
        self._states = States()
        self._positions: dict[Series, datetime | None] = {}
        self._advanced: set[Series] = set()
        self._pending: list[Step] = []
        self._ended: list[Step] = []

    async def lock(self, ids: Sequence[str]) -> None:
        connection = self.transaction.connection
        if ids:
            touched = [_series(identity) for identity in ids]
            await self._lock_positions(touched)
            symbols, timeframes = _columns(touched)
            rows = await connection.fetch(_LOCK_STEPS, sorted(set(timeframes)), symbols)
            self._pending = [
                Step(row["timeframe"], row["market_at"], row["step"], tuple(row["symbols"]), row["replay_id"])
                for row in rows
            ]
        self._states = await restrictions(connection)

    async def _lock_positions(self, touched: Sequence[Series]) -> None:
        connection = self.transaction.connection
        rows = await connection.fetch(_LOCK, *_columns(touched))
        if len(rows) < len(touched):
            await connection.execute(_ADD, *_columns(touched))
            rows = await connection.fetch(_LOCK, *_columns(touched))
        self._positions = {Series(row["symbol"], row["timeframe"]): row["close_at"] for row in rows}

    def position(self, series: Series) -> datetime | None:
        return self._positions[series]

    def advance(self, series: Series, close_at: datetime) -> None:
        self._positions[series] = close_at
        self._advanced.add(series)

    def is_halted(self, symbol: str) -> bool:
        return self._states.strictest(symbol=symbol) is TradingStateWord.HALTED

    def end_step(self, step: Step) -> None:
        self._ended.append(step)

    async def flush(self) -> None:
        connection = self.transaction.connection
        if self._advanced:
            series = sorted(self._advanced)
            await connection.execute(_ADVANCE, *_columns(series), [self._positions[one] for one in series])
        if self._pending or self._ended:
            await self._pass_on_steps()

    async def _pass_on_steps(self) -> None:
        connection = self.transaction.connection
        unread = {one for step in (*self._pending, *self._ended) for one in step.series} - self._positions.keys()
        # Read now that the steps are locked: whoever moved one of these since will find our positions after us.
        for row in await connection.fetch(_READ, *_columns(sorted(unread))) if unread else ():
            self._positions[Series(row["symbol"], row["timeframe"])] = row["close_at"]
        over = [step for step in self._pending if step.is_over(self._positions.get)]
        if over:
            await connection.executemany(_DROP_STEPS, [(step.timeframe, step.market_at, step.step) for step in over])
        waiting = [step for step in self._ended if not step.is_over(self._positions.get)]
        if waiting:
            await connection.executemany(_ADD_STEPS, [_row(step) for step in waiting])
        for step in sorted((*over, *self._ended), key=lambda step: (step.market_at, step.step)):
            if step not in waiting:
                for topic in (CORE_ENGINE_MARKET, *([CORE_ENGINE_ORDER_REQUESTS] if self._is_replay else [])):
                    self.transaction.publish(topic, "step", step_ended(step), market_at=step.market_at)


def _row(step: Step) -> tuple[object, ...]:
    return (step.timeframe, step.market_at, step.step, list(step.symbols), step.replay_id)


def _series(identity: str) -> Series:
    symbol, _, timeframe = identity.partition("|")
    return Series(symbol, timeframe)


def _columns(series: Sequence[Series]) -> tuple[list[str], list[str]]:
    return [one.symbol for one in series], [one.timeframe for one in series]
