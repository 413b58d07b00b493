"""A short model of the market that is plainly right: it walks every tick of a bar's path and looks at every order.

Same rules as README.md, other means: no sorted lists, no ranking, no notion of legs.
"""

from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from fleet_simulator import Bar, Cancel, Place, Quote


class NaiveMarket:
    def __init__(self, rate: Decimal, tick: Decimal, lot: Decimal, share: Fraction | None, lifetime: int) -> None:
        self.rate, self.tick, self.lot, self.share, self.lifetime = rate, tick, lot, share, lifetime
        self.live: list[dict[str, Any]] = []
        self.out: list[tuple[Any, ...]] = []
        self.now = 0
        self.trades = 0
        self.prices: list[tuple[int, int]] = []  # (latest acceptance it reaches, its time) of all prices shown
        self.standing: dict[str, Any] | None = None

    def apply(self, command: Place | Cancel, at: int) -> None:
        at = max(at, self.now)
        known = [o for o in self.live if o["ref"] == command.order_ref]
        if isinstance(command, Cancel):
            if known and known[0]["account"] == command.account_id:
                self.end(known[0], command.reason, at)
            else:
                self.out.append(("cancel_rejected", command.order_ref, at, "unknown_order"))
        elif known:
            self.out.append(("rejected", command.order_ref, at, "duplicate_order_ref"))
        else:
            self.place(command, at)

    def place(self, c: Place, at: int) -> None:
        order = {
            "ref": c.order_ref, "account": c.account_id, "buy": c.side == "buy", "limit": c.limit_price,
            "worst": c.limit_price or c.protection_price, "open": c.quantity, "filled": 0, "notional": 0,
            "fee": Decimal(0), "tif": str(c.time_in_force), "at": at, "met": False, "taking": False,
        }  # fmt: skip
        self.live.append(order)
        self.out.append(("accepted", c.order_ref, at))
        if self.standing and at - self.standing["at"] <= self.lifetime:
            self.meet_quote(order, at)
            order["met"] = True
            if order in self.live and order["tif"] == "ioc":
                self.end(order, "immediate_or_cancel", at)

    def bar(self, bar: Bar) -> None:
        self.now, self.standing = bar.market_at, None
        for order in self.live:
            order["taking"] = False
        if not bar.volume:
            return
        left = None if self.share is None else int(bar.volume * self.share)
        seen = [o for o in self.live if o["at"] <= bar.open_at and o["at"] < bar.market_at]
        at_open = [o for o in seen if o["limit"] is None]
        at_open += sorted(
            (o for o in seen if o["limit"] is not None and good(o, bar.open)), key=lambda o: -abs(o["limit"] - bar.open)
        )
        for order in at_open:
            if not good(order, bar.open):
                self.end(order, "price_protection", bar.market_at)
            else:
                taker = order["limit"] is None or not self.rested(order)
                left = self.fill(order, bar.open, left, bar.market_at, taker)
        for price in path(bar):
            for order in [o for o in seen if o in self.live and o["limit"] == price and o["tif"] != "ioc"]:
                left = self.fill(order, price, left, bar.market_at, False)
        for order in [o for o in seen if o in self.live and o["tif"] == "ioc"]:
            self.end(order, "immediate_or_cancel", bar.market_at)
        self.prices.append((bar.open_at, bar.market_at))

    def quote(self, q: Quote) -> None:
        self.now = q.market_at
        self.standing = {"at": q.market_at, "ask": (q.ask, q.ask_size), "bid": (q.bid, q.bid_size), "taken": {}}
        seen = [o for o in self.live if o["at"] < q.market_at]
        limits = [o for o in seen if o["limit"] is not None]
        order_of_turns = [o for o in seen if o["limit"] is None]
        order_of_turns += sorted((o for o in limits if o["buy"]), key=lambda o: -o["limit"])
        order_of_turns += sorted((o for o in limits if not o["buy"]), key=lambda o: o["limit"])
        for order in order_of_turns:
            self.meet_quote(order, q.market_at)
        for order in [o for o in seen if o in self.live and o["tif"] == "ioc"]:
            self.end(order, "immediate_or_cancel", q.market_at)
        self.prices.append((q.market_at - 1, q.market_at))

    def meet_quote(self, order: dict[str, Any], at: int) -> None:
        assert self.standing is not None
        price, size = self.standing["ask" if order["buy"] else "bid"]
        if not size:
            return
        if not good(order, price):
            if order["limit"] is None:
                self.end(order, "price_protection", at)
            order["taking"] = False
            return
        taker = order["limit"] is None or not self.rested(order)
        taken = self.standing["taken"].get(order["buy"], 0)
        before = None if self.share is None else int(size * self.share) - taken
        after = self.fill(order, price if taker else order["limit"], before, at, taker)
        if before is not None and after is not None:
            self.standing["taken"][order["buy"]] = taken + before - after
        order["taking"] = taker and order["limit"] is not None

    def session_end(self, at: int) -> None:
        for order in [o for o in self.live if o["tif"] == "day" and o["at"] < at]:
            self.live.remove(order)
            self.out.append(("expired", order["ref"], at))

    def rested(self, order: dict[str, Any]) -> bool:
        if order["taking"]:
            return False
        return bool(order["met"]) or any(order["at"] <= latest and order["at"] < at for latest, at in self.prices)

    def fill(self, order: dict[str, Any], price: int, left: int | None, at: int, taker: bool) -> int | None:
        quantity = order["open"] if left is None else min(order["open"], left)
        if not quantity:
            return left
        order["open"] -= quantity
        order["filled"] += quantity
        order["notional"] += quantity * price
        whole = (order["notional"] * self.tick * self.lot * self.rate).quantize(Decimal("1e-8"), ROUND_HALF_UP)
        charge, order["fee"] = whole - order["fee"], whole
        self.trades += 1
        liquidity = "taker" if taker else "maker"
        self.out.append(("filled", order["ref"], at, self.trades, quantity, price, order["filled"], charge, liquidity))
        if not order["open"]:
            self.live.remove(order)
        return None if left is None else left - quantity

    def end(self, order: dict[str, Any], reason: str, at: int) -> None:
        self.live.remove(order)
        self.out.append(("canceled", order["ref"], at, reason))


def good(order: dict[str, Any], price: int) -> bool:
    worst = order["worst"]
    return worst is None or (price <= worst if order["buy"] else price >= worst)


def path(bar: Bar) -> list[int]:
    """Every tick the price passes after the open, in order: to the nearer extreme, to the other, to the close."""
    low_first = bar.open - bar.low <= bar.high - bar.open
    turns = [bar.open, bar.low, bar.high, bar.close] if low_first else [bar.open, bar.high, bar.low, bar.close]
    ticks: list[int] = []
    for a, b in pairwise(turns):
        ticks += range(a + 1, b + 1) if b > a else range(a - 1, b - 1, -1)
    return ticks
