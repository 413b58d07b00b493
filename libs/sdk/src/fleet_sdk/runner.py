"""Runs one deployment's strategy: inputs pushed in, intents handed back. In the strategy service and in process."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from fleet_sdk.bars import Bar
from fleet_sdk.orders import Intent, OpenOrder
from fleet_sdk.strategy import Context, Strategy


class Runner:
    """A strategy and its context.

    A restart builds the same again: a new Runner, `warm_up` with stored bars up to the last step's market time,
    `restore` with the snapshot that was committed with that step. Positions and open orders are not in it: they come
    with every step from the orders' own records, which is why orders in flight need no special care.
    After an exception of the strategy, or a rolled-back transaction, throw the Runner away and build it anew.
    """

    def __init__(self, strategy: Strategy[Any], symbols: Iterable[str]) -> None:
        if strategy.lookback < 1:
            raise ValueError(f"a lookback is at least 1, was {strategy.lookback}")
        self.strategy = strategy
        self.context = Context(symbols, strategy.lookback)
        self.market_at: datetime | None = None
        """Market time of the last step taken, None before the first."""

    def warm_up(self, bars: Iterable[Bar]) -> None:
        """History only, in any order; `strategy.lookback` bars of a symbol are enough. Nothing is decided from it."""
        self.context._add_history(bars)

    def step(
        self,
        market_at: datetime,
        bars: Iterable[Bar],
        positions: Mapping[str, Decimal],
        open_orders: Iterable[OpenOrder],
    ) -> tuple[Intent, ...]:
        """One step with those of its bars that are of the deployment's symbols; without any, nothing is run.

        `positions` and `open_orders` are the deployment's own: what came of its signals. All bars close at `market_at`,
        which is after the last step's.
        """
        if self.market_at is not None and market_at <= self.market_at:
            raise ValueError(f"a step must be after the last one at {self.market_at}, was {market_at}")
        own = [bar for bar in bars if bar.symbol in self.context.symbols]
        if wrong := [bar for bar in own if bar.close_at != market_at]:
            raise ValueError(f"a step's bars close at {market_at}, was {wrong[0].symbol} at {wrong[0].close_at}")
        if not own:
            return ()
        is_first = self.market_at is None
        self.market_at = market_at
        self.context._begin(market_at, own, positions, open_orders)
        if is_first:
            self.strategy.on_start(self.context)
        self.strategy.on_step(self.context)
        return self.context._collect()

    def snapshot(self) -> dict[str, Any]:
        """JSON-able; to be stored in the transaction that stores the step's intents."""
        return {
            "market_at": self.market_at.isoformat() if self.market_at else None,
            "state": self.strategy.snapshot(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        market_at = snapshot["market_at"]
        self.market_at = datetime.fromisoformat(market_at) if market_at else None
        self.strategy.restore(snapshot["state"])
