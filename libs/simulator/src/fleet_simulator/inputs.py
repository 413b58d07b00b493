"""The prices a market fills from, in ticks, lots and nanoseconds of market time. Bad prices are refused here."""

from dataclasses import dataclass

from fleet_simulator.orders import Side


@dataclass(frozen=True, slots=True)
class Bar:
    """Prices of the time from `open_at` to `market_at` (its close). `volume` 0 says that nothing traded."""

    open_at: int
    market_at: int
    open: int
    high: int
    low: int
    close: int
    volume: int

    def __post_init__(self) -> None:
        if not self.open_at <= self.market_at:
            raise ValueError(f"a bar closes at or after its open, was {self.open_at} to {self.market_at}")
        if not 0 < self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high:
            raise ValueError(
                f"a bar's open and close lie between its low and high, all above 0, was open {self.open},"
                f" high {self.high}, low {self.low}, close {self.close}"
            )
        if self.volume < 0:
            raise ValueError(f"a bar's volume is not negative, was {self.volume}")

    @property
    def eligible_before(self) -> int:
        """It fills orders accepted before this: at or before its open, and before its close."""
        return min(self.open_at + 1, self.market_at)

    @property
    def is_low_first(self) -> bool:
        """Whether the documented path goes to the low before the high: the nearer extreme, the low if equally near."""
        return self.open - self.low <= self.high - self.open


@dataclass(frozen=True, slots=True)
class Quote:
    """The best bid and ask from `market_at` until the next quote. A side of size 0 is empty.

    `since`: when it was said for the first time, for who tells again what stands; what was taken of it stays taken.
    """

    market_at: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    since: int | None = None

    def __post_init__(self) -> None:
        if self.bid_size < 0 or self.ask_size < 0:
            raise ValueError(f"sizes are not negative, was {self.bid_size} and {self.ask_size}")
        if (self.bid_size and self.bid <= 0) or (self.ask_size and self.ask <= 0):
            raise ValueError(f"prices are above 0, was bid {self.bid}, ask {self.ask}")
        if self.bid_size and self.ask_size and self.bid > self.ask:
            raise ValueError(f"a quote is not crossed, was bid {self.bid}, ask {self.ask}")

    @property
    def eligible_before(self) -> int:
        """When it comes, it fills orders accepted before this; those that come while it stands fill as they come."""
        return self.market_at


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade of others. `aggressor` is the side that took, if it is known."""

    market_at: int
    price: int
    quantity: int
    aggressor: Side | None = None

    def __post_init__(self) -> None:
        if self.price <= 0 or self.quantity <= 0:
            raise ValueError(f"price and quantity are above 0, was {self.price} and {self.quantity}")


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """A whole book: (price, size) of each level, in any order."""

    market_at: int
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if any(price <= 0 or size <= 0 for price, size in (*self.bids, *self.asks)):
            raise ValueError(f"prices and sizes of a book are above 0, was {self.bids} and {self.asks}")


@dataclass(frozen=True, slots=True)
class BookDelta:
    """The levels that have changed since the book before, each with its new size; 0 takes it away."""

    market_at: int
    bids: tuple[tuple[int, int], ...] = ()
    asks: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if any(price <= 0 or size < 0 for price, size in (*self.bids, *self.asks)):
            raise ValueError(f"prices are above 0 and sizes not negative, was {self.bids} and {self.asks}")
