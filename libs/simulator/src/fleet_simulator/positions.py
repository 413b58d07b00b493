"""What each account holds by its fills here, and how much of it an order that only reduces may still sell or buy back."""

from collections.abc import Iterable, Mapping
from heapq import nsmallest

from fleet_simulator.orders import Order, Phase, Side


class Positions:
    """Signed lots by account; accounts without any are not kept."""

    def __init__(self, lots: Mapping[str, int] | None = None) -> None:
        self._lots = dict(lots or {})

    def of(self, account_id: str) -> int:
        return self._lots.get(account_id, 0)

    def set(self, account_id: str, lots: int) -> None:
        self._lots[account_id] = lots
        if not lots:
            del self._lots[account_id]

    def book(self, order: Order, quantity: int) -> None:
        signed = quantity if order.is_buy else -quantity
        self.set(order.account_id, self.of(order.account_id) + signed)

    def split(self, numerator: int, denominator: int) -> None:
        """Fractions of a lot are not held; the venue of the split pays them out."""
        for account_id, lots in list(self._lots.items()):
            whole = abs(lots) * numerator // denominator
            self.set(account_id, whole if lots > 0 else -whole)

    def to_data(self) -> dict[str, int]:
        return dict(sorted(self._lots.items()))

    def above(self, account_id: str | None, most: int) -> list[tuple[str, int]]:
        """(account, lots) of the first `most` above this one, by rising account, without sorting all of them."""
        return nsmallest(most, (held for held in self._lots.items() if account_id is None or held[0] > account_id))

    def room(self, account_id: str, side: Side, orders: Iterable[Order]) -> int:
        """Lots that orders of this side may trade without increasing the position or turning it round, besides what
        the account's plain orders of that side in the book may trade before them; `orders` are all of the account."""
        held = self.of(account_id)
        plain = sum(
            order.remaining
            for order in orders
            if order.side is side and not order.reduce_only and order.phase is Phase.BOOK
        )
        return max(0, (-held if side is Side.BUY else held) - plain)
