"""Between Decimals at the edge and the integers inside: exact both ways, or refused."""

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal, InvalidOperation

from fleet_simulator.fees import CURRENCY_PRECISION, EXACT

_WIDE = Context(prec=80)
_ONE_PPM = Decimal("0.0001")


class OffGrid(ValueError):
    """A price that is no multiple of the tick size, or a quantity that is none of the lot size."""

    def __init__(self, what: str, value: Decimal, step: Decimal) -> None:
        super().__init__(f"{what} must be a multiple of {step}, was {value}")
        self.what, self.value, self.step = what, value, step


@dataclass(frozen=True, slots=True)
class Scale:
    """An instrument's grid."""

    tick: Decimal
    lot: Decimal

    def __post_init__(self) -> None:
        if self.tick <= 0 or self.lot <= 0:
            raise ValueError(f"tick and lot are above 0, was {self.tick} and {self.lot}")

    def ticks(self, price: Decimal) -> int:
        return _steps("price", price, self.tick)

    def lots(self, quantity: Decimal) -> int:
        return _steps("quantity", quantity, self.lot)

    def lots_within(self, quantity: Decimal) -> int:
        """Whole lots in a quantity that need not be on the grid, such as a bar's volume."""
        return int(_WIDE.divide_int(quantity, self.lot).to_integral_value(ROUND_FLOOR))

    def price(self, ticks: int) -> Decimal:
        return EXACT.multiply(Decimal(ticks), self.tick)

    def quantity(self, lots: int) -> Decimal:
        return EXACT.multiply(Decimal(lots), self.lot)

    @staticmethod
    def fee(units: int) -> Decimal:
        """A fee in the quote currency, of fee units."""
        return Decimal(units).scaleb(-CURRENCY_PRECISION, EXACT)


def trail_ppm(percent: Decimal) -> int:
    """The trail of a trailing stop in millionths of the price: 1.5 % is 15,000. It has at most 4 decimals (OffGrid)."""
    return _steps("trail_percent", percent, _ONE_PPM)


def _steps(what: str, value: Decimal, step: Decimal) -> int:
    try:
        steps, rest = _WIDE.divmod(value, step)
    except InvalidOperation:  # it is no number, or one of more than 80 digits
        raise OffGrid(what, value, step) from None
    if rest:
        raise OffGrid(what, value, step)
    return int(steps)
