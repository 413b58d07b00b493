"""What a strategy author writes against: Strategy and its Context. The same object runs in process and in the fleet."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID, uuid5

import msgspec
from fleet_simulator import OrderType, Side, TimeInForce

from fleet_sdk.bars import Bar
from fleet_sdk.parameters import Parameters, read_parameters


class OpenOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order of this deployment that has not ended, as it stood when the step began."""

    signal_id: UUID
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    filled_quantity: Decimal
    limit_price: Decimal | None = None


class SubmitIntent(msgspec.Struct, frozen=True, kw_only=True):
    """An order the strategy wants. `number` counts the intents of a step from 0."""

    number: int
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    time_in_force: TimeInForce


class CancelIntent(msgspec.Struct, frozen=True, kw_only=True):
    """The order of an earlier signal the strategy wants cancelled."""

    number: int
    symbol: str
    target_signal_id: UUID


Intent = SubmitIntent | CancelIntent


def signal_id(deployment_id: UUID, market_at: datetime, number: int) -> UUID:
    """The id of an intent: the same again however often the step is run."""
    return uuid5(deployment_id, f"{market_at.isoformat()}/{number}")


class Context:
    """What a strategy sees and may ask for, within one step. A Runner fills it; authors use what is public."""

    def __init__(self, symbols: Iterable[str], lookback: int) -> None:
        self.symbols = tuple(sorted(set(symbols)))
        """The deployment's symbols, in alphabetical order."""
        self._lookback = lookback
        self._windows: dict[str, list[Bar]] = {symbol: [] for symbol in self.symbols}
        self._bars: dict[str, Bar] = {}
        self._now: datetime | None = None
        self._positions: Mapping[str, Decimal] = {}
        self._open_orders: tuple[OpenOrder, ...] = ()
        self._intents: list[Intent] = []

    @property
    def now(self) -> datetime:
        """Market time: the close of this step's bars."""
        if self._now is None:
            raise RuntimeError("there is no market time before the first step")
        return self._now

    @property
    def bars(self) -> Mapping[str, Bar]:
        """This step's bars by symbol, in alphabetical order; a symbol without one is not in it."""
        return MappingProxyType(self._bars)

    @property
    def open_orders(self) -> tuple[OpenOrder, ...]:
        """This deployment's orders that have not ended; without what is asked for in this step."""
        return self._open_orders

    def bar(self, symbol: str) -> Bar | None:
        """This step's bar of a symbol, None where there is none. Never an earlier one."""
        self._known(symbol)
        return self._bars.get(symbol)

    def history(self, symbol: str, n: int) -> tuple[Bar, ...]:
        """The last `n` bars available by now, oldest first, this step's the last; fewer where there are not so many."""
        self._known(symbol)
        if not 0 < n <= self._lookback:
            raise ValueError(f"n must be from 1 to the strategy's lookback of {self._lookback}, was {n}")
        window = self._windows[symbol]
        available = bisect_right(window, self.now, key=lambda bar: bar.available_at)
        return tuple(window[max(0, available - n) : available])

    def position(self, symbol: str) -> Decimal:
        """What this deployment's own fills have left it with (bought less sold)."""
        self._known(symbol)
        return self._positions.get(symbol, Decimal(0))

    def buy(
        self,
        symbol: str,
        quantity: Decimal | int,
        *,
        limit_price: Decimal | None = None,
        time_in_force: TimeInForce = TimeInForce.GTC,
    ) -> None:
        """A market order, or a limit order where a limit price is given. It can fill from the next bar on."""
        self._submit(symbol, Side.BUY, quantity, limit_price, time_in_force)

    def sell(
        self,
        symbol: str,
        quantity: Decimal | int,
        *,
        limit_price: Decimal | None = None,
        time_in_force: TimeInForce = TimeInForce.GTC,
    ) -> None:
        """As buy."""
        self._submit(symbol, Side.SELL, quantity, limit_price, time_in_force)

    def cancel(self, order: OpenOrder) -> None:
        """Asks for an open order to be cancelled; it may fill before that is known."""
        self._intents.append(
            CancelIntent(number=len(self._intents), symbol=order.symbol, target_signal_id=order.signal_id)
        )

    def _submit(
        self, symbol: str, side: Side, quantity: Decimal | int, limit_price: Decimal | None, time_in_force: TimeInForce
    ) -> None:
        self._known(symbol)
        amount = _positive("quantity", quantity)
        self._intents.append(
            SubmitIntent(
                number=len(self._intents),
                symbol=symbol,
                side=side,
                type=OrderType.MARKET if limit_price is None else OrderType.LIMIT,
                quantity=amount,
                limit_price=None if limit_price is None else _positive("limit_price", limit_price),
                time_in_force=time_in_force,
            )
        )

    def _known(self, symbol: str) -> None:
        if symbol not in self._windows:
            raise ValueError(f"symbol must be one of the deployment's, {', '.join(self.symbols)}, was {symbol}")

    # -- the runner's side ---------------------------------------------------------------------------------------

    def _add_history(self, bars: Iterable[Bar]) -> None:
        """In any order; a bar of the same close takes the earlier one's place; the newest `lookback` are kept."""
        for bar in bars:
            self._known(bar.symbol)
            window = self._windows[bar.symbol]
            place = bisect_left(window, bar.close_at, key=lambda known: known.close_at)
            replaced = place < len(window) and window[place].close_at == bar.close_at
            window[place : place + replaced] = [bar]
            del window[: -self._lookback]

    def _begin(
        self,
        market_at: datetime,
        bars: Iterable[Bar],
        positions: Mapping[str, Decimal],
        open_orders: Iterable[OpenOrder],
    ) -> None:
        self._now = market_at
        self._bars = {bar.symbol: bar for bar in sorted(bars, key=lambda bar: bar.symbol)}
        self._add_history(self._bars.values())
        self._positions, self._open_orders = positions, tuple(open_orders)
        self._intents = []

    def _collect(self) -> tuple[Intent, ...]:
        intents, self._intents = tuple(self._intents), []
        return intents


def _positive(name: str, value: Decimal | int) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        raise TypeError(f"{name} must be a Decimal or int, was {value!r}")
    exact = Decimal(value)
    if not exact.is_finite() or exact <= 0:
        raise ValueError(f"{name} must be above 0, was {value}")
    return exact


P = TypeVar("P", bound=Parameters)


class Strategy(Generic[P]):
    """Subclass it: set `parameters_type`, write `on_step`. A strategy decides from what its context shows and nothing
    else: no clock, no randomness, no I/O; so the same inputs give the same intents anywhere.

    What it must remember beyond bars, position and open orders goes through `snapshot` and `restore`.
    """

    parameters_type: ClassVar[type[Parameters]]

    def __init__(self, /, **parameters: object) -> None:
        """Reads and checks the parameters; raises InvalidParameter, which names the field."""
        self.parameters: P = read_parameters(self.parameters_type, parameters)  # type: ignore[assignment]

    @property
    def lookback(self) -> int:
        """How many bars of each symbol `history` must be able to give, this step's among them."""
        return 1

    def on_start(self, context: Context) -> None:
        """Once in a deployment's life, in its first step before `on_step`, history warmed up. A restart is no start."""

    def on_step(self, context: Context) -> None:
        """Once for all bars of one market time, if any is of the deployment's symbols."""
        raise NotImplementedError

    def snapshot(self) -> dict[str, Any]:
        """What it remembers, as JSON-able data; by default nothing."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up what `snapshot` gave. A strategy with a snapshot overrides both."""
        if state:
            raise ValueError(f"{type(self).__name__} keeps no state, was {sorted(state)}")
