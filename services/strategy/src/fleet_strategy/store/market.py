"""Bars, pending steps and the runs of deployments."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fleet_bus import Transaction
from fleet_contracts.topics import STRATEGY_DEPLOYMENTS, STRATEGY_SIGNALS
from fleet_sdk.bars import Bar
from fleet_sdk.orders import Leg, OpenOrder, OrderClass
from fleet_simulator import OrderType, Side

from fleet_strategy.domain import Deployment, Signal, Step, Told
from fleet_strategy.events import deployment_message, signal_message

from .rows import DEPLOYMENT_COLUMNS, SIGNAL_COLUMNS, by_column, deployment_of

_BAR_COLUMNS = "symbol, open_at, close_at, open, high, low, close, volume"
_INSERT_BARS = f"""
INSERT INTO bars (timeframe, {_BAR_COLUMNS})
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::numeric[], $6::numeric[],
    $7::numeric[], $8::numeric[], $9::numeric[])
ON CONFLICT (symbol, timeframe, close_at) DO NOTHING
"""  # noqa: S608 (constants)
_INSERT_WITHHELD = """
INSERT INTO withheld_bars (symbol, timeframe, close_at, reason)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::text[])
ON CONFLICT (symbol, timeframe, close_at) DO NOTHING
"""
_ACTIVE = f"""
SELECT {DEPLOYMENT_COLUMNS}, number FROM deployments WHERE state = 'active' AND timeframe = ANY($1)
ORDER BY deployment_id FOR NO KEY UPDATE
"""  # noqa: S608 (constants)
_BARS_OF = f"""
SELECT b.timeframe, {", ".join(f"b.{c.strip()}" for c in _BAR_COLUMNS.split(","))}
FROM unnest($1::text[], $2::timestamptz[]) AS s (timeframe, market_at)
JOIN bars b ON b.timeframe = s.timeframe AND b.close_at = s.market_at AND b.symbol = ANY($3)
"""  # noqa: S608 (constants)
_WITHHELD = """
SELECT w.symbol, w.timeframe, w.close_at FROM unnest($1::text[], $2::timestamptz[]) AS s (timeframe, market_at)
JOIN withheld_bars w ON w.timeframe = s.timeframe AND w.close_at = s.market_at
"""
_HISTORY = f"""
SELECT b.* FROM unnest($1::text[], $2::int[]) AS wanted (symbol, n)
CROSS JOIN LATERAL (
    SELECT {_BAR_COLUMNS} FROM bars
    WHERE bars.symbol = wanted.symbol AND bars.timeframe = $3 AND bars.close_at < $4
    ORDER BY bars.close_at DESC LIMIT wanted.n
) b
"""  # noqa: S608 (constants)
# Orders that have not ended, and what was asked for within a day of which no order has been heard yet, for it will be
# placed when those on the way are back: in the order asked, the exits of an order after it, the take-profit first.
_OPEN_ORDERS = """
SELECT o.deployment_id, o.signal_id, o.symbol, o.side, o.order_type, o.quantity, o.filled_quantity, o.limit_price,
       o.stop_price, s.order_class, o.parent_order_id IS NOT NULL AS is_leg, s.market_at, s.number
FROM deployment_orders o JOIN signals s USING (signal_id) WHERE o.deployment_id = ANY($1) AND o.is_open
UNION ALL
SELECT s.deployment_id, s.signal_id, s.symbol, s.side, s.order_type, s.quantity, 0, s.limit_price,
       s.stop_price, s.order_class, false, s.market_at, s.number
FROM deployments d JOIN signals s ON s.deployment_id = d.deployment_id AND s.market_at > d.last_step_at - interval '1 day'
WHERE d.deployment_id = ANY($1) AND s.action = 'submit' AND s.outcome IS DISTINCT FROM 'dropped'
  AND NOT EXISTS (SELECT FROM deployment_orders o WHERE o.signal_id = s.signal_id)
ORDER BY market_at, number, is_leg, stop_price NULLS FIRST
"""
_SAVE_RUNS = """
UPDATE deployments SET last_step_at = ran.last_step_at, snapshot = coalesce(ran.snapshot, deployments.snapshot),
    state = ran.state, reason_code = ran.code, reason_detail = ran.detail, version = ran.version,
    updated_at = ran.updated_at
FROM unnest($1::uuid[], $2::timestamptz[], $3::jsonb[], $4::text[], $5::text[], $6::text[], $7::int[],
    $8::timestamptz[]) AS ran (deployment_id, last_step_at, snapshot, state, code, detail, version, updated_at)
WHERE deployments.deployment_id = ran.deployment_id
"""
_INSERT_SIGNALS = f"""
INSERT INTO signals ({", ".join(SIGNAL_COLUMNS)}, raised_at)
SELECT *, $23 FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::int[], $5::text[], $6::text[], $7::text[],
    $8::text[], $9::numeric[], $10::numeric[], $11::text[], $12::uuid[], $13::numeric[], $14::numeric[], $15::numeric[],
    $16::timestamptz[], $17::boolean[], $18::boolean[], $19::text[], $20::numeric[], $21::numeric[], $22::numeric[])
"""  # noqa: S608 (constants)


STEPS = "steps"
"""The kind of the due row of what one transaction has left for the next."""
_RUNNING = 0x57E5_0001
"""Whose lock it is: the strategies in memory are run by one transaction after the other."""


class PostgresMarket:
    """The market in the transaction of one batch. `run_steps` is called when all that the batch brought is stored."""

    def __init__(self, transaction: Transaction, run_steps: Callable[["PostgresMarket"], Awaitable[None]]) -> None:
        self._tx = transaction
        self._run_steps = run_steps
        self.arrived: dict[str, datetime] = {}
        self._bars: list[tuple[object, ...]] = []
        self._withheld: list[tuple[object, ...]] = []
        self._new_steps: list[Step] = []
        self._ended: list[Step] = []
        self._runs: dict[UUID, tuple[Deployment, Mapping[str, Any] | None]] = {}
        self._signals: list[Signal] = []

    @property
    def now(self) -> datetime:
        return self._tx.now

    async def lock(self, ids: Sequence[str]) -> None:
        """Nothing is known yet of whom a bar concerns: the deployments are locked when a step is ready."""
        await self._tx.connection.execute("SELECT pg_advisory_xact_lock($1)", _RUNNING)

    def add_bars(self, timeframe: str, bars: Iterable[Bar]) -> None:
        for bar in bars:
            self._bars.append(
                (timeframe, bar.symbol, bar.open_at, bar.close_at, bar.open, bar.high, bar.low, bar.close, bar.volume)
            )
            self.arrived[bar.symbol] = min(bar.close_at, self.arrived.get(bar.symbol, bar.close_at))

    def add_withheld(self, symbol: str, timeframe: str, close_at: datetime, reason: str) -> None:
        self._withheld.append((symbol, timeframe, close_at, reason))

    def add_step(self, step: Step) -> None:
        self._new_steps.append(step)

    async def pending_steps(self) -> list[Step]:
        rows = await self._tx.connection.fetch("SELECT timeframe, market_at, symbols FROM pending_steps")
        steps = [*(Step(row[0], row[1], tuple(row[2])) for row in rows), *self._new_steps]
        # A step that is told again is the same step.
        return list({(step.timeframe, step.market_at): step for step in reversed(steps)}.values())

    async def active_deployments(self, timeframes: Sequence[str]) -> list[Deployment]:
        rows = await self._tx.connection.fetch(_ACTIVE, timeframes)
        return [deployment_of(row) for row in sorted(rows, key=lambda row: (row["account_id"], row["number"]))]

    async def bars_of(self, steps: Sequence[Step], symbols: Iterable[str]) -> dict[Step, list[Bar]]:
        places = {(step.timeframe, step.market_at): step for step in steps}
        rows = await self._tx.connection.fetch(_BARS_OF, *by_column(list(places)), sorted(symbols))
        found: dict[Step, list[Bar]] = {}
        for timeframe, *columns in rows:
            bar = _bar(columns)
            found.setdefault(places[timeframe, bar.close_at], []).append(bar)
        return found

    async def withheld(self, steps: Sequence[Step]) -> set[Told]:
        places: list[tuple[object, ...]] = [(step.timeframe, step.market_at) for step in steps]
        return {(row[0], row[1], row[2]) for row in await self._tx.connection.fetch(_WITHHELD, *by_column(places))}

    async def history(self, timeframe: str, before: datetime, lookbacks: Mapping[str, int]) -> list[Bar]:
        rows = await self._tx.connection.fetch(_HISTORY, list(lookbacks), list(lookbacks.values()), timeframe, before)
        return [_bar(tuple(row)) for row in reversed(rows)]  # of each symbol the oldest first

    async def snapshots(self, deployment_ids: Sequence[UUID]) -> dict[UUID, Mapping[str, Any] | None]:
        rows = await self._tx.connection.fetch(
            "SELECT deployment_id, snapshot FROM deployments WHERE deployment_id = ANY($1)", deployment_ids
        )
        stored: dict[UUID, Mapping[str, Any] | None] = {row[0]: row[1] for row in rows}
        # A step run earlier in this transaction is not in the table yet.
        return stored | {key: run[1] for key, run in self._runs.items() if key in stored and run[1] is not None}

    async def positions(self, deployment_ids: Sequence[UUID]) -> dict[UUID, dict[str, Decimal]]:
        rows = await self._tx.connection.fetch(
            "SELECT deployment_id, symbol, quantity FROM deployment_positions WHERE deployment_id = ANY($1)",
            deployment_ids,
        )
        found: dict[UUID, dict[str, Decimal]] = {}
        for deployment_id, symbol, quantity in rows:
            found.setdefault(deployment_id, {})[symbol] = quantity
        return found

    async def open_orders(self, deployment_ids: Sequence[UUID]) -> dict[UUID, list[OpenOrder]]:
        found: dict[UUID, list[OpenOrder]] = {}
        for row in await self._tx.connection.fetch(_OPEN_ORDERS, deployment_ids):
            order = OpenOrder(
                signal_id=row[1],
                symbol=row[2],
                side=Side(row[3]),
                type=OrderType(row[4]),
                quantity=row[5],
                filled_quantity=row[6],
                limit_price=row[7],
                stop_price=row[8],
                order_class=OrderClass(row[9]),
                leg=_leg(row[4]) if row[10] else None,
            )
            found.setdefault(row[0], []).append(order)
        return found

    def raise_signal(self, deployment: Deployment, signal: Signal) -> None:
        self._signals.append(signal)
        self._tx.publish(
            STRATEGY_SIGNALS,
            str(deployment.account_id),
            signal_message(deployment, signal),
            market_at=signal.market_at,
        )

    def save_run(self, deployment: Deployment, snapshot: Mapping[str, Any]) -> None:
        self._runs[deployment.deployment_id] = (deployment, snapshot)

    def save_failure(self, deployment: Deployment) -> None:
        earlier = self._runs.get(deployment.deployment_id)
        self._runs[deployment.deployment_id] = (deployment, earlier and earlier[1])
        self._tx.publish(
            STRATEGY_DEPLOYMENTS,
            str(deployment.deployment_id),
            deployment_message(deployment),
            market_at=deployment.last_step_at,
        )

    def end_step(self, step: Step) -> None:
        self._ended.append(step)

    def go_on(self) -> None:
        self._tx.schedule(STEPS, "", 0, "wall", self.now)

    async def flush(self) -> None:
        connection = self._tx.connection
        if self._bars:
            await connection.execute(_INSERT_BARS, *by_column(self._bars))
        if self._withheld:
            await connection.execute(_INSERT_WITHHELD, *by_column(self._withheld))
        await self._run_steps(self)
        if self._runs:
            rows = [_run_row(deployment, snapshot) for deployment, snapshot in self._runs.values()]
            await connection.execute(_SAVE_RUNS, *by_column(rows))
        if self._signals:
            await connection.execute(_INSERT_SIGNALS, *by_column([_signal_row(s) for s in self._signals]), self.now)
        await self._keep_steps()

    async def _keep_steps(self) -> None:
        """New steps that somebody waits for stay as rows; those that have ended go, with what was withheld of them."""
        waiting: list[tuple[object, ...]] = [
            (step.timeframe, step.market_at, list(step.symbols)) for step in self._new_steps if step not in self._ended
        ]
        for row in waiting:
            await self._tx.connection.execute(
                "INSERT INTO pending_steps (timeframe, market_at, symbols) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                *row,
            )
        if not self._ended:
            return
        ended: list[tuple[object, ...]] = [(step.timeframe, step.market_at) for step in self._ended]
        columns = by_column(ended)
        await self._tx.connection.execute(
            "DELETE FROM pending_steps USING unnest($1::text[], $2::timestamptz[]) AS gone (timeframe, market_at)"
            " WHERE pending_steps.timeframe = gone.timeframe AND pending_steps.market_at = gone.market_at",
            *columns,
        )
        await self._tx.connection.execute(
            "DELETE FROM withheld_bars USING unnest($1::text[], $2::timestamptz[]) AS gone (timeframe, market_at)"
            " WHERE withheld_bars.timeframe = gone.timeframe AND withheld_bars.close_at = gone.market_at",
            *columns,
        )


def _leg(order_type: str) -> Leg:
    """A take-profit is a limit order, a stop-loss never."""
    return Leg.TAKE_PROFIT if order_type == OrderType.LIMIT else Leg.STOP_LOSS


def _bar(columns: Sequence[Any]) -> Bar:
    symbol, open_at, close_at, open_, high, low, close, volume = columns
    return Bar(
        symbol=symbol,
        open_at=open_at,
        close_at=close_at,
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
    )


def _run_row(deployment: Deployment, snapshot: Mapping[str, Any] | None) -> tuple[object, ...]:
    reason = deployment.reason
    return (
        *(deployment.deployment_id, deployment.last_step_at, snapshot, deployment.state.value),
        *(reason and reason.code, reason and reason.detail, deployment.version, deployment.updated_at),
    )


def _signal_row(signal: Signal) -> tuple[object, ...]:
    return tuple(getattr(signal, column) for column in SIGNAL_COLUMNS)
