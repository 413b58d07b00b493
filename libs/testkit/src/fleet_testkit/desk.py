"""Trading's place in front of execution: what it orders, and what it must believe of it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from fleet_contracts import execution, trading
from fleet_contracts.topics import TRADING_ORDER_COMMANDS
from fleet_contracts.vocabulary import OrderType, Side, TimeInForce, VenueOrderStand

from fleet_testkit.eventually import eventually
from fleet_testkit.peers import Peers

_ENDS: dict[type[execution.AnyReport], str] = {
    execution.OrderRejected: "rejected",
    execution.OrderCanceled: "canceled",
    execution.OrderExpired: "expired",
}


@dataclass
class Believed:
    """What the reports of one order come to. Building it fails where they cannot all be true."""

    order: trading.SubmitOrder | trading.Leg
    stand: str = "sent"
    code: str | None = None
    quantity: Decimal = Decimal(0)
    limit_price: Decimal | None = None
    fills: dict[str, execution.OrderFilled] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    """The codes of cancels and replaces that were refused, in order."""
    answered: int | None = None
    """The wish that was answered last."""
    is_triggered: bool = False

    @classmethod
    def of(cls, order: trading.SubmitOrder | trading.Leg, reports: list[execution.AnyReport]) -> Believed:
        found = cls(order, quantity=order.quantity, limit_price=order.limit_price)
        for n, report in enumerate(reports):
            try:
                found._learn(report)
            except AssertionError as error:
                before = "\n".join(map(str, reports[:n]))
                raise AssertionError(f"{error}; told before:\n{before}") from error
        return found

    @property
    def filled(self) -> Decimal:
        return sum((fill.last_quantity for fill in self.fills.values()), Decimal(0))

    def _learn(self, report: execution.AnyReport) -> None:
        match report:
            case execution.OrderFilled():
                assert report.venue_trade_id not in self.fills, f"told twice: {report}"
                self._fill(report)
            case execution.OrderState():
                for fill in report.fills:
                    known = self.fills.get(fill.venue_trade_id)
                    assert known in (None, fill), f"the same fill told in two ways: {known}, {fill}"
                    self._fill(fill)
                if report.stand is not VenueOrderStand.UNKNOWN:
                    self._stand(report.stand.value, report.code)
            case execution.OrderAccepted():
                self._stand("working", None)
            case execution.OrderCancelRejected() | execution.OrderReplaceRejected():
                self.refused.append(report.code)
                self.answered = report.request
            case execution.OrderReplaced():
                self.quantity, self.limit_price = report.quantity, report.limit_price
                self.answered = report.request
            case execution.OrderTriggered():
                self.is_triggered = True
            case execution.OrderUnknown():
                pass
            case execution.OrderRejected() | execution.OrderCanceled() | execution.OrderExpired():
                assert self.stand in ("sent", "working"), f"ended twice: {self.stand}, then {report}"
                self._stand(_ENDS[type(report)], None if isinstance(report, execution.OrderExpired) else report.code)
        if self.stand in ("sent", "working") and self.filled and self.filled == self.quantity:
            self.stand = "filled"

    def _fill(self, fill: execution.OrderFilled) -> None:
        self.fills[fill.venue_trade_id] = fill
        assert self.filled <= self.order.quantity or self.filled <= self.quantity, f"filled too much: {self.fills}"
        if self.stand == "sent":
            self.stand = "working"

    def _stand(self, word: str, code: str | None) -> None:
        """An end is final, whatever is said of the order afterwards; only its fills may still grow."""
        if self.stand in ("sent", "working"):
            self.stand, self.code = word, code


PATIENCE_S = 45.0
"""A loaded machine can keep a consumer from the broker for longer than its session of 20 s: it joins its group anew, and
what was asked of it meanwhile is answered after that."""


@dataclass
class Desk:
    """Orders at one venue in one symbol, each in an account of its own unless told otherwise."""

    peers: Peers
    venue: str
    symbol: str
    wishes: int = 0
    """Cancels and replaces so far; the last one's `request`."""

    def order(self, quantity: Decimal, limit_price: Decimal | None = None, **changed: Any) -> trading.SubmitOrder:
        """To buy so much: at the market, or at this limit until it is cancelled."""
        fields: dict[str, Any] = {
            "order_id": (order_id := uuid4()),
            "client_order_id": f"c-{order_id}",
            "account_id": uuid4(),
            "user_id": uuid4(),
            "deployment_id": None,
            "signal_id": None,
            "symbol": self.symbol,
            "side": Side.BUY,
            "order_type": OrderType.MARKET if limit_price is None else OrderType.LIMIT,
            "quantity": quantity,
            "limit_price": limit_price,
            "protection_price": None,
            "time_in_force": TimeInForce.GTC,
            "venue": self.venue,
            "send_by": None,
        }
        return trading.SubmitOrder(**(fields | changed))

    async def say(self, *commands: Any) -> None:
        said = [(TRADING_ORDER_COMMANDS, str(command.account_id), command) for command in commands]
        await self.peers.say(*said, market_at=datetime.now(UTC))

    async def cancel(self, order: trading.SubmitOrder) -> None:
        self.wishes += 1
        await self.say(trading.CancelOrder(**_named(order), request=self.wishes))

    async def query(self, order: trading.SubmitOrder, attempt: int = 1) -> None:
        await self.say(trading.QueryOrder(**_named(order), attempt=attempt))

    async def replace(
        self, order: trading.SubmitOrder, quantity: Decimal | None = None, limit_price: Decimal | None = None
    ) -> None:
        self.wishes += 1
        wish = trading.ReplaceOrder(**_named(order), quantity=quantity, limit_price=limit_price, request=self.wishes)
        await self.say(wish)

    def told(self, account_id: UUID, order_id: UUID) -> list[execution.AnyReport]:
        records = self.peers.heard_of(execution.OrderReports, str(account_id))
        return [report for record in records for report in record.reports if report.order_id == order_id]

    def believed(self, order: trading.SubmitOrder) -> Believed:
        return Believed.of(order, self.told(order.account_id, order.order_id))

    async def until(
        self,
        order: trading.SubmitOrder,
        *stands: str,
        that: Callable[[Believed], bool] = lambda _: True,
        timeout_s: float = PATIENCE_S,
    ) -> Believed:
        """What is believed of the order once it stands so and fulfils the condition."""

        def came() -> Believed | None:
            believed = self.believed(order)
            return believed if (not stands or believed.stand in stands) and that(believed) else None

        try:
            found = await eventually(came, timeout_s)
        except AssertionError as error:
            told = "\n".join(map(str, self.told(order.account_id, order.order_id)))
            raise AssertionError(f"{' or '.join(stands)} did not come of {order}; told was\n{told}") from error
        assert found is not None
        return found


def _named(order: trading.SubmitOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in ("order_id", "account_id", "user_id", "symbol", "venue")}
