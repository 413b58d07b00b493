"""What stands to be taken: the levels of a quote or of a full book, and what our own orders have taken of them."""

from collections.abc import Iterator, Mapping
from typing import Any, Self

from fleet_simulator.inputs import BookDelta, BookSnapshot, Quote
from fleet_simulator.orders import Order, Side


class Depth:
    """Sizes by price and side. A level that is shown anew is whole again; until then what was taken stays taken.

    `is_book`: all levels are known, else only the best.
    """

    def __init__(self, market_at: int, *, is_book: bool, since: int | None = None) -> None:
        self.market_at = market_at
        self.since = since
        self.is_book = is_book
        self._sizes: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
        self._taken: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}

    @classmethod
    def of_quote(cls, quote: Quote) -> Self:
        depth = cls(quote.market_at, is_book=False, since=quote.since)
        depth._sizes[Side.BUY] = {quote.bid: quote.bid_size} if quote.bid_size else {}
        depth._sizes[Side.SELL] = {quote.ask: quote.ask_size} if quote.ask_size else {}
        return depth

    @classmethod
    def of_book(cls, book: BookSnapshot) -> Self:
        depth = cls(book.market_at, is_book=True)
        depth._sizes = {Side.BUY: dict(book.bids), Side.SELL: dict(book.asks)}
        return depth

    def is_again(self, quote: Quote) -> bool:
        """Whether it is this quote that stands already."""
        return not self.is_book and quote.since is not None and quote.since == self.since

    def change(self, delta: BookDelta) -> None:
        self.market_at = delta.market_at
        for side, levels in ((Side.BUY, delta.bids), (Side.SELL, delta.asks)):
            for price, size in levels:
                self._taken[side].pop(price, None)
                self._sizes[side].pop(price, None)
                if size:
                    self._sizes[side][price] = size

    @property
    def is_crossed(self) -> bool:
        bid, ask = self.best(Side.BUY), self.best(Side.SELL)
        return bid is not None and ask is not None and bid >= ask

    def best(self, side: Side) -> int | None:
        """The highest bid or the lowest ask."""
        prices = self._sizes[side]
        return (max if side is Side.BUY else min)(prices, default=None)

    def levels(self, side: Side) -> Iterator[tuple[int, int, int]]:
        """(price, size, taken) from the best on."""
        for price in sorted(self._sizes[side], reverse=side is Side.BUY):
            yield price, self._sizes[side][price], self._taken[side].get(price, 0)

    def take(self, side: Side, price: int, quantity: int) -> None:
        self._taken[side][price] = self._taken[side].get(price, 0) + quantity

    def ahead(self, order: Order) -> int | None:
        """What stands before an order that comes now to its limit: all that is shown there; `None` if that is unknown."""
        price, best = order.limit_price, self.best(order.side)
        if price is None:
            return None
        shown = self._sizes[order.side].get(price)
        if shown is not None:
            return shown
        is_better = best is None or (price > best if order.is_buy else price < best)
        return 0 if self.is_book or (is_better and best is not None) else None

    def to_data(self) -> dict[str, Any]:
        sides = {name: [list(level) for level in self.levels(side)] for name, side in _SIDES.items()}
        return {"market_at": self.market_at, "is_book": self.is_book, "since": self.since, **sides}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        depth = cls(data["market_at"], is_book=data["is_book"], since=data.get("since"))
        for name, side in _SIDES.items():
            depth._sizes[side] = {price: size for price, size, _ in data[name]}
            depth._taken[side] = {price: taken for price, _, taken in data[name] if taken}
        return depth


_SIDES = {"bids": Side.BUY, "asks": Side.SELL}
