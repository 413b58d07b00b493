"""The strategies that come with the fleet, and their registry."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from fleet_simulator import Side
from msgspec import Meta

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
        _check_quantity(self.quantity)


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
        _check_quantity(self.quantity)


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


def _check_quantity(quantity: Decimal) -> None:
    if quantity <= 0:
        raise InvalidParameter("quantity", f"must be above 0, was {quantity}")


BUILTINS: Mapping[str, type[Strategy[Any]]] = {"buy_and_hold": BuyAndHold, "sma_cross": SmaCross}
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
