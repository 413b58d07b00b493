"""The strategies that come with the fleet, and their registry."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Any

from fleet_simulator import Side
from msgspec import Meta

from fleet_sdk.bars import Bar
from fleet_sdk.orders import OrderClass
from fleet_sdk.parameters import InvalidParameter, Parameters, parameters_schema
from fleet_sdk.strategy import Context, Strategy

Length = Annotated[int, Meta(ge=1, le=10_000)]
"""Bars of a moving average; 10,000 bounds what a deployment keeps in memory."""


class SmaCrossParameters(Parameters, frozen=True):
    fast: Length = 10
    slow: Length = 30
    quantity: Decimal = Decimal(20)

    def __post_init__(self) -> None:
        if self.slow <= self.fast:
            raise InvalidParameter("slow", f"must be greater than fast ({self.fast}), was {self.slow}")
        _check_positive(quantity=self.quantity)


class SmaCross(Strategy[SmaCrossParameters]):
    """Long while the fast moving average of closes is above the slow one, else flat.

    Buys `quantity` when the sign of (fast - slow) turns from not positive to positive and it holds nothing and waits
    for nothing; when it turns from not negative to negative, cancels a buy that still waits and sells what it holds.
    Sums are exact. What the market refused is not tried again before the next cross.
    """

    parameters_type = SmaCrossParameters

    @property
    def lookback(self) -> int:
        return self.parameters.slow + 1

    def on_step(self, context: Context) -> None:
        for symbol in context.bars:
            closes = [bar.close for bar in context.history(symbol, self.lookback)]
            if len(closes) < self.lookback:
                continue
            before, now = self._difference(closes[:-1]), self._difference(closes[1:])
            held = context.position(symbol)
            waiting = [order for order in context.open_orders if order.symbol == symbol]
            if before <= 0 < now and not held and not waiting:
                context.buy(symbol, self.parameters.quantity)
            elif now < 0 <= before:
                for order in waiting:
                    if order.side is Side.BUY:
                        context.cancel(order)
                if held > 0 and all(order.side is Side.BUY for order in waiting):
                    context.sell(symbol, held)

    def _difference(self, closes: list[Decimal]) -> Decimal:
        """Fast less slow average, times fast times slow: its sign without a division."""
        fast, slow = self.parameters.fast, self.parameters.slow
        return sum(closes[-fast:], Decimal(0)) * slow - sum(closes[-slow:], Decimal(0)) * fast


class BuyAndHoldParameters(Parameters, frozen=True):
    quantity: Decimal = Decimal(20)

    def __post_init__(self) -> None:
        _check_positive(quantity=self.quantity)


class BuyAndHold(Strategy[BuyAndHoldParameters]):
    """Buys `quantity` of each symbol at its first bar, once, and keeps it."""

    parameters_type = BuyAndHoldParameters

    def __init__(self, /, **parameters: object) -> None:
        super().__init__(**parameters)
        self._bought: set[str] = set()

    def on_step(self, context: Context) -> None:
        for symbol in context.bars:
            if symbol not in self._bought:
                self._bought.add(symbol)
                context.buy(symbol, self.parameters.quantity)

    def snapshot(self) -> dict[str, Any]:
        return {"bought": sorted(self._bought)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._bought = set(state["bought"])


class Exit(StrEnum):
    """How a breakout leaves: at a target or a stop (`bracket`), or at a stop that follows the price (`trailing_stop`)."""

    BRACKET = "bracket"
    TRAILING_STOP = "trailing_stop"


class BreakoutParameters(Parameters, frozen=True):
    """`stop_ranges`: how many average true ranges the stop lies from the entry; `reward`: the target's distance in
    those of the stop; `tick`: prices are rounded to it, it must be a multiple of the instrument's tick size."""

    length: Length = 20
    stop_ranges: Decimal = Decimal(2)
    reward: Decimal = Decimal(2)
    exit: Exit = Exit.BRACKET
    quantity: Decimal = Decimal(20)
    tick: Decimal = Decimal("0.01")

    def __post_init__(self) -> None:
        _check_positive(stop_ranges=self.stop_ranges, reward=self.reward, quantity=self.quantity, tick=self.tick)


class Breakout(Strategy[BreakoutParameters]):
    """Buys a break of the highest high of `length` bars, as the Turtles did, with its risk known beforehand.

    While it holds nothing, a buy stop waits at that high; when the high has fallen it is cancelled, and put anew at the
    next close. The average true range of those bars times `stop_ranges` is the risk a share. Exit `bracket`: the
    stop-loss lies that far below the entry, the take-profit `reward` times as far above it, both at work as soon as the
    entry fills; where they are gone they are put anew around the close. Exit `trailing_stop`: a stop
    follows the price at that distance, from the close after the entry on.
    """

    parameters_type = BreakoutParameters

    @property
    def lookback(self) -> int:
        return self.parameters.length + 1

    def on_step(self, context: Context) -> None:
        parameters = self.parameters
        for symbol in context.bars:
            bars = context.history(symbol, self.lookback)
            if len(bars) < self.lookback:
                continue
            waiting = [order for order in context.open_orders if order.symbol == symbol]
            held, tick = context.position(symbol), parameters.tick
            high = _down(max(bar.high for bar in bars[1:]), tick)
            risk = max(self._risk(bars), tick)
            if waiting:
                entry = waiting[0]
                if not held and entry.side is Side.BUY and entry.stop_price != high:
                    context.cancel(entry)
            elif held > 0 and parameters.exit is Exit.TRAILING_STOP:
                context.sell(symbol, held, trail_amount=risk)
            else:
                self._bracketed(context, symbol, held, _down(bars[-1].close, tick) if held else high, risk)

    def _bracketed(self, context: Context, symbol: str, held: Decimal, price: Decimal, risk: Decimal) -> None:
        """The entry with its exits at this price, or only the exits of what is held."""
        if price <= risk:
            return  # there is no price for a stop
        parameters = self.parameters
        target, stop = price + max(_down(risk * parameters.reward, parameters.tick), parameters.tick), price - risk
        if held:
            context.oco(symbol, Side.SELL, held, take_profit=target, stop_loss=stop)
        elif parameters.exit is Exit.TRAILING_STOP:
            context.buy(symbol, parameters.quantity, stop_price=price)
        else:
            context.buy(symbol, parameters.quantity, stop_price=price, take_profit=target, stop_loss=stop)

    def _risk(self, bars: Sequence[Bar]) -> Decimal:
        """The average true range (J. W. Wilder, 1978; plain mean) times `stop_ranges`, down to the tick."""
        ranges = (max(bar.high, before.close) - min(bar.low, before.close) for before, bar in pairwise(bars))
        total = sum(ranges, Decimal(0)) * self.parameters.stop_ranges
        return total // (self.parameters.length * self.parameters.tick) * self.parameters.tick


class DipParameters(Parameters, frozen=True):
    """Percentages: `dip` below the last close for the entry, `target` above and `stop` below the close for the exits;
    `most_bars`: for how long it holds; `tick` as of breakout."""

    dip: Decimal = Decimal(2)
    target: Decimal = Decimal(4)
    stop: Decimal = Decimal(3)
    valid_days: Annotated[int, Meta(ge=1, le=365)] = 3
    most_bars: Length = 20
    quantity: Decimal = Decimal(20)
    tick: Decimal = Decimal("0.01")

    def __post_init__(self) -> None:
        _check_positive(dip=self.dip, target=self.target, stop=self.stop, quantity=self.quantity, tick=self.tick)
        for name, percent in (("dip", self.dip), ("stop", self.stop)):
            if percent >= 100:
                raise InvalidParameter(name, f"must be below 100, was {percent}")


class BuyTheDip(Strategy[DipParameters]):
    """Waits with a limit order below the close and leaves at a target or a stop, whichever comes first.

    Flat, a buy limit `dip` percent below the close waits for `valid_days`. Holding, with nothing at work, both exits go
    out at once, as one OCO around the close. What neither has sold after `most_bars` is sold at the market, one bar after
    they have been cancelled.
    """

    parameters_type = DipParameters

    def __init__(self, /, **parameters: object) -> None:
        super().__init__(**parameters)
        self._held_bars: dict[str, int] = {}

    def on_step(self, context: Context) -> None:
        parameters = self.parameters
        for symbol, bar in context.bars.items():
            held = context.position(symbol)
            self._held_bars[symbol] = self._held_bars.get(symbol, 0) + 1 if held else 0
            is_late = self._held_bars[symbol] > parameters.most_bars
            waiting = [order for order in context.open_orders if order.symbol == symbol]
            if waiting:
                if is_late and waiting[0].order_class is OrderClass.OCO:
                    context.cancel(waiting[0])
            elif held > 0 and is_late:
                context.sell(symbol, held)
            elif held > 0:
                target, stop = self._away(bar.close, parameters.target), self._away(bar.close, -parameters.stop)
                context.oco(symbol, Side.SELL, held, take_profit=max(target, stop + parameters.tick), stop_loss=stop)
            elif not held:
                until = context.now + timedelta(days=parameters.valid_days)
                entry = self._away(bar.close, -parameters.dip)
                context.buy(symbol, parameters.quantity, limit_price=entry, expires_at=until)

    def snapshot(self) -> dict[str, Any]:
        return {"held_bars": self._held_bars}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._held_bars = dict(state["held_bars"])

    def _away(self, price: Decimal, percent: Decimal) -> Decimal:
        """Down to the tick, and at least one."""
        return max(_down(price + price * percent.scaleb(-2), self.parameters.tick), self.parameters.tick)


def _down(price: Decimal, tick: Decimal) -> Decimal:
    return price // tick * tick


def _check_positive(**values: Decimal) -> None:
    for name, value in values.items():
        if value <= 0:
            raise InvalidParameter(name, f"must be above 0, was {value}")


BUILTINS: Mapping[str, type[Strategy[Any]]] = {
    "breakout": Breakout,
    "buy_and_hold": BuyAndHold,
    "buy_the_dip": BuyTheDip,
    "sma_cross": SmaCross,
}
"""By the name that `POST /strategies {builtin}` takes."""


class UnknownBuiltin(LookupError):
    def __init__(self, name: str) -> None:
        super().__init__(f"builtin must be one of {', '.join(BUILTINS)}, was {name}")
        self.name = name


def create(name: str, parameters: Mapping[str, object]) -> Strategy[Any]:
    """A new strategy object. Raises UnknownBuiltin, or InvalidParameter, which names the field."""
    return _builtin(name)(**parameters)


def schema(name: str) -> dict[str, Any]:
    """JSON Schema of a builtin's parameters. Raises UnknownBuiltin."""
    return parameters_schema(_builtin(name).parameters_type)


def _builtin(name: str) -> type[Strategy[Any]]:
    try:
        return BUILTINS[name]
    except KeyError:
        raise UnknownBuiltin(name) from None
