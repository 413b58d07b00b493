"""A short model of held orders and groups on bars and quotes that is plainly right: it walks every tick of a bar and
looks at every order at each. No index, no levels looked for ahead; every order fills as a whole.
"""

from itertools import pairwise
from typing import Any

from fleet_simulator import Bar, Cancel, Place, Quote

Naive = dict[str, Any]


class NaiveTriggers:
    def __init__(self, lifetime: int) -> None:
        self.lifetime = lifetime
        self.live: list[Naive] = []  # by acceptance
        self.out: list[tuple[Any, ...]] = []
        self.now = self.turn = 0
        self.spot: tuple[int, int] | None = None  # a price on a bar's path; as of when what comes now has rested
        self.quoted: Quote | None = None
        self.rested_before = 0

    # Commands

    def apply(self, command: Place | Cancel, at: int) -> None:
        at = max(at, self.now)
        if isinstance(command, Cancel):
            found = [o for o in self.live if (o["ref"], o["account"]) == (command.order_ref, command.account_id)]
            if found:
                self.cancel(found[0], "requested", at)
            else:
                self.out.append(("cancel_rejected", command.order_ref))
            return
        c = command
        order: Naive = {
            "ref": c.order_ref, "account": c.account_id, "buy": c.side == "buy", "type": str(c.type), "at": at,
            "limit": c.limit_price, "worst": c.limit_price or c.protection_price, "stop": c.stop_price,
            "trail": (c.trail_amount, c.trail_ppm), "mark": None, "group": c.oco_group, "parent": c.parent_ref,
            "size": c.quantity, "declared": c.quantity, "granted": 0, "filled": 0, "day": c.time_in_force == "day",
            "expires": c.expires_at, "state": "held", "entered": at, "met": False, "turn": self.next_turn(),
        }  # fmt: skip
        self.live.append(order)
        self.out.append(("accepted", order["ref"]))
        if order["parent"]:
            order["state"], order["size"] = "waits", 0
        else:
            self.begin(order, at)

    def begin(self, order: Naive, at: int) -> None:
        if order["type"] in ("market", "limit"):
            self.enter(order, at)
        else:
            order["state"] = "held"
            self.look(order, self.shown(order, at), at)

    def look(self, order: Naive, price: int | None, at: int) -> None:
        if order["state"] == "held" and order in self.live and price is not None:
            self.follow(order, price)
            if fires(order, price):
                self.fire(order, price, at)

    def follow(self, order: Naive, price: int) -> None:
        if order["type"] == "trailing_stop":
            best = [p for p in (order["mark"], price) if p is not None]
            order["mark"] = min(best) if order["buy"] else max(best)

    def fire(self, order: Naive, price: int, at: int) -> None:
        order["turn"] = self.next_turn()
        order["state"] = "book"
        self.out.append(("triggered", order["ref"], price))
        for leg in self.others(order):
            self.cancel(leg, "oco", at)
        self.enter(order, at)

    def enter(self, order: Naive, at: int) -> None:
        order["state"], order["met"], order["entered"] = "book", False, at
        if self.spot:
            order["entered"] = self.spot[1]
            self.meet(order, self.spot[0], at, taker=True)
        elif (price := self.shown(order, at)) is not None:
            self.meet(order, price, at, taker=True)
        if not self.spot and self.stands(at):
            order["met"] = True

    def meet(self, order: Naive, price: int, at: int, *, taker: bool, own: bool = False) -> None:
        if good(order, price):
            self.fill(order, order["limit"] if own and not taker else price, at, taker)
        elif order["limit"] is None:
            self.cancel(order, "price_protection", at)

    # What a fill and an end entail

    def fill(self, order: Naive, price: int, at: int, taker: bool) -> None:
        quantity = order["size"] - order["filled"]
        order["filled"] = order["size"]
        self.out.append(("filled", order["ref"], quantity, price, "taker" if taker else "maker"))
        for leg in self.others(order):
            self.shrink(leg, quantity, at)
        children = [o for o in self.live if o["parent"] == order["ref"]]
        grown = [child for child in children if self.grow(child, order)]
        for child in grown:
            if child in self.live and child["size"] > child["filled"]:
                child["turn"] = self.next_turn()
                self.begin(child, at)
        if self.parent(order):
            order["state"] = "waits"
        elif order in self.live:
            self.live.remove(order)
            self.orphan(order, at)

    def grow(self, child: Naive, parent: Naive) -> bool:
        more = child["declared"] * parent["filled"] // parent["size"] - child["granted"]
        child["granted"] += more
        child["size"] += more
        if more:
            self.out.append(("replaced", child["ref"], child["size"], "parent_filled"))
        return bool(more)

    def shrink(self, leg: Naive, quantity: int, at: int) -> None:
        leg["size"] -= min(quantity, leg["size"] - leg["filled"])
        if leg["size"] == leg["filled"] and not self.parent(leg):
            self.cancel(leg, "oco", at)
            return
        if leg["size"] == leg["filled"]:
            leg["state"] = "waits"
        self.out.append(("replaced", leg["ref"], leg["size"], "oco"))

    def cancel(self, order: Naive, reason: str, at: int) -> None:
        self.live.remove(order)
        self.out.append(("canceled", order["ref"], reason))
        self.orphan(order, at)

    def expire(self, order: Naive, at: int) -> None:
        self.live.remove(order)
        self.out.append(("expired", order["ref"]))
        self.orphan(order, at)

    def orphan(self, parent: Naive, at: int) -> None:
        for child in [o for o in self.live if o["parent"] == parent["ref"]]:
            child["parent"] = None
            if child["size"] == child["filled"] and child["filled"]:
                self.live.remove(child)
                self.out.append(("replaced", child["ref"], child["size"], "parent_ended"))
                self.orphan(child, at)
            elif child["size"] == child["filled"]:
                self.cancel(child, "parent_ended", at)

    # Prices

    def bar(self, bar: Bar) -> None:
        self.run_out(bar.open_at)
        self.now, self.quoted = bar.market_at, None
        if not bar.volume:
            return
        before = min(bar.open_at + 1, bar.market_at)
        self.spot = bar.open, before - 1
        resting = [o for o in self.live if o["state"] == "book" and o["at"] < before]
        turns = sorted((o for o in resting if o["limit"] is None), key=lambda o: o["turn"])
        limits = [o for o in resting if o["limit"] is not None and good(o, bar.open)]
        turns += sorted(limits, key=lambda o: (-abs(o["limit"] - bar.open), o["turn"]))
        for order in turns:
            if order in self.live and order["state"] == "book":
                taker = order["limit"] is None or not self.has_rested(order)
                self.meet(order, bar.open, self.now, taker=taker)
        self.elect(bar.open, bar.open, before)
        self.run_out(bar.market_at - 1)
        for price in path(bar):
            self.spot = price, before - 1
            rising = [o for o in self.live if o["state"] == "book" and o["at"] < before and o["limit"] == price]
            for order in sorted(rising, key=lambda o: o["turn"]):
                if order in self.live and order["state"] == "book":
                    self.fill(order, price, self.now, False)
            self.elect(price, price, before)
        self.spot, self.rested_before = None, before

    def quote(self, quote: Quote) -> None:
        self.run_out(quote.market_at)
        self.now, self.quoted = quote.market_at, quote
        seen = [o for o in self.live if o["state"] == "book" and o["at"] < self.now]
        turns = sorted((o for o in seen if o["limit"] is None), key=lambda o: o["turn"])
        turns += sorted((o for o in seen if o["limit"] and o["buy"]), key=lambda o: (-o["limit"], o["turn"]))
        turns += sorted((o for o in seen if o["limit"] and not o["buy"]), key=lambda o: (o["limit"], o["turn"]))
        for order in turns:
            price = self.shown(order, self.now)
            if order in self.live and order["state"] == "book" and price is not None:
                taker = order["limit"] is None or not self.has_rested(order)
                self.meet(order, price, self.now, taker=taker, own=True)
        self.rested_before = self.now
        self.elect(quote.ask if quote.ask_size else None, quote.bid if quote.bid_size else None, self.now)

    def session_end(self, at: int) -> None:
        for order in [o for o in self.live if o["day"] and o["at"] < at]:
            if order in self.live:
                self.expire(order, at)

    def elect(self, ask: int | None, bid: int | None, before: int) -> None:
        """All look at the price first; then those that it fires go, by arrival."""
        fired = []
        for order in [o for o in self.live if o["state"] == "held" and o["at"] < before]:
            price = ask if order["buy"] else bid
            if price is not None:
                self.follow(order, price)
                if fires(order, price):
                    fired.append((order, price))
        for order, price in fired:
            if order in self.live and order["state"] == "held":
                self.fire(order, price, self.now)

    def run_out(self, until: int) -> None:
        over = [o for o in self.live if o["expires"] is not None and o["expires"] <= until]
        for order in sorted(over, key=lambda o: o["expires"]):
            if order in self.live:
                self.expire(order, order["expires"])

    # Looking

    def shown(self, order: Naive, at: int) -> int | None:
        if self.spot:
            return self.spot[0]
        if self.quoted is None or not self.stands(at):
            return None
        q = self.quoted
        price, size = (q.ask, q.ask_size) if order["buy"] else (q.bid, q.bid_size)
        return price if size else None

    def stands(self, at: int) -> bool:
        return self.quoted is not None and at - self.quoted.market_at <= self.lifetime

    def has_rested(self, order: Naive) -> bool:
        return bool(order["met"]) or order["entered"] < self.rested_before

    def others(self, order: Naive) -> list[Naive]:
        return [o for o in self.live if order["group"] and o["group"] == order["group"] and o is not order]

    def parent(self, order: Naive) -> Naive | None:
        return next((o for o in self.live if order["parent"] and o["ref"] == order["parent"]), None)

    def next_turn(self) -> int:
        self.turn += 1
        return self.turn


def fires(order: Naive, price: int) -> bool:
    at = order["stop"]
    if order["type"] == "trailing_stop":
        amount, ppm = order["trail"]
        away = amount or -(-order["mark"] * ppm // 1_000_000)
        at = order["mark"] + away if order["buy"] else max(order["mark"] - away, 1)
    rising = order["buy"] is not order["type"].endswith("if_touched")
    return bool(price >= at if rising else price <= at)


def good(order: Naive, price: int) -> bool:
    worst = order["worst"]
    return worst is None or (price <= worst if order["buy"] else price >= worst)


def path(bar: Bar) -> list[int]:
    """Every tick the price passes after the open: to the nearer extreme, to the other, to the close."""
    low_first = bar.open - bar.low <= bar.high - bar.open
    turns = [bar.open, *((bar.low, bar.high) if low_first else (bar.high, bar.low)), bar.close]
    return [p for a, b in pairwise(turns) for p in (range(a + 1, b + 1) if b > a else range(a - 1, b - 1, -1))]
