"""A short model of an exchange that is plainly right: lists that are sorted anew, every rule where it is needed.

Market, limit, stops, if-touched, trailing, iceberg, GTD, IOC, OCO, and what a fill entails, in README.md's order.
"""

from typing import Any


class NaiveExchange:
    def __init__(self) -> None:
        self.live: list[dict[str, Any]] = []  # by acceptance
        self.out: list[tuple[Any, ...]] = []
        self.queue: list[Any] = []
        self.turn = 0

    def place(self, ref: str, **o: Any) -> None:
        self.turn += 1
        order = {"ref": ref, "filled": 0, "shown": 0, "state": "held", "mark": None, "turn": self.turn, **o}
        self.live.append(order)
        self.out.append(("accepted", ref))
        if o["type"] in ("market", "limit"):
            self.enter(order)
        self.drain()

    def cancel(self, ref: str) -> None:
        for order in [o for o in self.live if o["ref"] == ref]:
            self.end(order, "requested")
        self.drain()

    def expire(self, at: int) -> None:
        over = [o for o in self.live if o["expires"] is not None and o["expires"] <= at]
        for order in sorted(over, key=lambda o: o["expires"]):
            self.live.remove(order)
            self.out.append(("expired", order["ref"]))

    def drain(self) -> None:
        while self.queue:
            todo = self.queue.pop(0)
            if isinstance(todo, int):
                self.elect(todo)
            elif todo in self.live and not todo["shown"] and todo["quantity"] > todo["filled"]:
                self.turn += 1
                todo["turn"] = self.turn
                self.enter(todo)

    def elect(self, price: int) -> None:
        fired = []
        for o in [o for o in self.live if o["state"] == "held"]:
            up = o["buy"] != o["type"].endswith("touched")
            level = o["stop"]
            if o["type"] == "trailing_stop":
                o["mark"] = price if o["mark"] is None else (min if o["buy"] else max)(o["mark"], price)
                level = o["mark"] + o["trail"] if o["buy"] else max(1, o["mark"] - o["trail"])
            if (price >= level) if up else (price <= level):
                fired.append(o)
        for o in fired:
            if o in self.live:
                self.turn += 1
                o["turn"], o["state"] = self.turn, "book"
                self.out.append(("triggered", o["ref"], price))
                for leg in [x for x in self.live if x is not o and o["oco"] and x["oco"] == o["oco"]]:
                    self.end(leg, "oco")
                self.enter(o)

    def enter(self, o: dict[str, Any]) -> None:
        o["state"] = "book"
        o["shown"] = o["quantity"] - o["filled"]
        if o["display"] and not o["ioc"]:
            o["shown"] = min(o["shown"], o["display"])
        traded: dict[str, tuple[dict[str, Any], int]] = {}
        while o["shown"]:
            others = [x for x in self.live if x["state"] == "book" and x["shown"] and x["buy"] != o["buy"]]
            others.sort(key=lambda x: (x["limit"] if not x["buy"] else -x["limit"], x["turn"]))
            if not others:
                break
            maker = others[0]
            if o["limit"] is not None and not (
                o["limit"] >= maker["limit"] if o["buy"] else o["limit"] <= maker["limit"]
            ):
                break
            quantity = min(o["shown"], maker["shown"])
            for each, role in ((o, "taker"), (maker, "maker")):
                each["shown"] -= quantity
                each["filled"] += quantity
                self.out.append(("filled", each["ref"], quantity, maker["limit"], role))
                traded[each["ref"]] = each, traded.get(each["ref"], (each, 0))[1] + quantity
            self.queue.append(maker["limit"])
        gone = False
        if o["shown"] and (o["limit"] is None or o["ioc"]):
            o["shown"] = 0
            self.out.append(("canceled", o["ref"], "no_liquidity" if o["limit"] is None else "immediate_or_cancel"))
            self.live.remove(o)
            gone = True
        for each, quantity in traded.values():
            for leg in [x for x in self.live if x is not each and each["oco"] and x["oco"] == each["oco"]]:
                leg["quantity"] -= min(quantity, leg["quantity"] - leg["filled"])
                if leg["quantity"] == leg["filled"]:
                    self.end(leg, "oco")
                else:
                    leg["shown"] = min(leg["shown"], leg["quantity"] - leg["filled"])
                    self.out.append(("replaced", leg["ref"], leg["quantity"]))
            if each["quantity"] == each["filled"]:
                self.live.remove(each)
            elif not each["shown"] and not (gone and each is o):
                self.queue.append(each)

    def end(self, order: dict[str, Any], reason: str) -> None:
        self.live.remove(order)
        self.out.append(("canceled", order["ref"], reason))
