"""What a strategy author writes against: Strategy and its Context. The same object runs in process and in the fleet."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeVar, Unpack

from fleet_simulator import Side

from fleet_sdk.bars import Bar
from fleet_sdk.orders import (
    Amount,
    CancelIntent,
    Conditions,
    Intent,
    OpenOrder,
    SubmitIntent,
    oco_intent,
    submit_intent,
)
from fleet_sdk.parameters import Parameters, read_parameters


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

    def buy(self, symbol: str, quantity: Amount, **conditions: Unpack[Conditions]) -> None:
        """A market order, or what Conditions make of it; it can fill from the next bar on.

        Raises ValueError where they do not go together.
        """
        self._submit(submit_intent(len(self._intents), symbol, Side.BUY, quantity, **conditions))

    def sell(self, symbol: str, quantity: Amount, **conditions: Unpack[Conditions]) -> None:
        """As buy."""
        self._submit(submit_intent(len(self._intents), symbol, Side.SELL, quantity, **conditions))

    def oco(
        self,
        symbol: str,
        side: Side,
        quantity: Amount,
        *,
        take_profit: Amount,
        stop_loss: Amount,
        stop_loss_limit: Amount | None = None,
        expires_at: datetime | None = None,
    ) -> None:
        """Two exits of what is held, at work at once: a limit order at `take_profit` and a stop at `stop_loss`.

        What one fills makes the other so much smaller. `side` is theirs: a position that was bought is sold.
        """
        pair = oco_intent(
            len(self._intents),
            symbol,
            side,
            quantity,
            take_profit=take_profit,
            stop_loss=stop_loss,
            stop_loss_limit=stop_loss_limit,
            expires_at=expires_at,
        )
        self._submit(pair)

    def cancel(self, order: OpenOrder) -> None:
        """Asks for what is open of the order's signal to be cancelled; it may fill before that is known.

        While an order with exits is open itself, that is the order: its exits keep what has filled. After that, and of
        an OCO at any time, it is all of them.
        """
        self._intents.append(
            CancelIntent(number=len(self._intents), symbol=order.symbol, target_signal_id=order.signal_id)
        )

    def _submit(self, intent: SubmitIntent) -> None:
        self._known(intent.symbol)
        if intent.expires_at is not None and intent.expires_at <= self.now:
            raise ValueError(f"expires_at must be after {self.now}, was {intent.expires_at}")
        self._intents.append(intent)

    def _known(self, symbol: str) -> None:
        if symbol not in self._windows:
            raise ValueError(f"symbol must be one of the deployment's, {', '.join(self.symbols)}, was {symbol}")

    # -- the runner's side ---------------------------------------------------------------------------------------

    def _add_history(self, bars: Iterable[Bar]) -> None:
        """In any order; a bar of the same close takes the earlier one's place; the newest `lookback` are kept."""
        for bar in bars:
            self._known(bar.symbol)
            window = self._windows[bar.symbol]
            if not window or window[-1].close_at < bar.close_at:
                window.append(bar)
            else:
                place = bisect_left(window, bar.close_at, key=lambda known: known.close_at)
                window[place : place + (window[place].close_at == bar.close_at)] = [bar]
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
