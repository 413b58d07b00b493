"""The in-process run: strategies on bars through the fleet's own simulator, in the fleet's own order of things.

A step is what CONTRACTS calls one. Open: the commands decided at the last close are applied, ordered by (account,
sequence), and each symbol's market fills from its bar. Bars: marks move. Close: each deployment is run once, ordered
by (account, creation), and what it decides is checked against the account and waits for the next open.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID, uuid5

from fleet_simulator import (
    Accepted,
    BarPath,
    Cancel,
    Canceled,
    CancelRejected,
    Command,
    Event,
    Expired,
    Filled,
    Latency,
    Market,
    Models,
    OffGrid,
    OrderType,
    Place,
    Rejected,
    Replaced,
    ReplaceRejected,
    Scale,
    Side,
    Slippage,
    Triggered,
    is_protected,
    models_of,
    protection_price,
    protection_reference,
    trail_ppm,
)
from fleet_simulator import Bar as MarketBar

from fleet_sdk.accounts import Fill, Outcome, RunAccount, RunOrder
from fleet_sdk.bars import Bar, Step
from fleet_sdk.orders import Intent, OpenOrder, OrderClass, SubmitIntent, signal_id
from fleet_sdk.runner import Runner
from fleet_sdk.strategy import Strategy

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A strategy at work on an account. A strategy object belongs to one deployment and one run."""

    deployment_id: UUID
    account_id: str
    strategy: Strategy[Any]
    symbols: Sequence[str]


@dataclass(frozen=True, slots=True)
class RunResult:
    """`positions` by (account, symbol), without zeros; `cash` by account; `equity` by account after each step."""

    fills: list[Fill]
    orders: list[RunOrder]
    positions: dict[tuple[str, str], Decimal]
    cash: dict[str, Decimal]
    equity: dict[str, list[tuple[datetime, Decimal]]]


def run(
    deployments: Sequence[Deployment],
    steps: Iterable[Step],
    *,
    fee_rate: Decimal | None = None,
    tick: Decimal,
    lot: Decimal = Decimal(1),
    protection_factor: Decimal = Decimal("1.05"),
    initial_cash: Decimal = Decimal(100_000),
    warm_up: Sequence[Bar] = (),
    volume_share: Fraction | str | None = None,
    slippage: Slippage | str | None = None,
    latency: Latency | str | None = None,
    fees: str | None = None,
    bar_path: str = BarPath.NEARER_EXTREME,
    seed: int = 0,
    is_session: bool = True,
) -> RunResult:
    """Runs the deployments, given in order of their creation, over the steps and returns what happened.

    Every account starts with `initial_cash`. What the protection price of a market order or a trailing stop is measured
    from is its symbol's last close. `is_session`: each bar is a whole session (daily bars), at whose end `day` orders
    expire; else they do not expire.

    What the market assumes is named as in the paper venue's settings (fleet_simulator.models): `fees`, or a `fee_rate`
    for all; by default there is no slippage, no latency and no bound on what is taken of a bar's volume. Orders reserve
    the highest of the fees. Raises UnknownModel.
    """
    if (fee_rate is None) is (fees is None):
        raise ValueError(f"either a fee rate or fees are given, was {fee_rate} and {fees}")
    models = models_of(
        fees=fees or f"flat:{fee_rate}",
        volume_share=volume_share,
        slippage=slippage,
        latency=latency,
        bar_path=bar_path,
        seed=seed,
    )
    fleet = _Run(
        runners=[(d, Runner(d.strategy, d.symbols)) for d in sorted(deployments, key=lambda d: d.account_id)],
        accounts={d.account_id: RunAccount(initial_cash, models.fees.highest) for d in deployments},
        scale=Scale(tick, lot),
        models=models,
        protection_factor=protection_factor,
        is_session=is_session,
    )
    for deployment, runner in fleet.runners:
        runner.warm_up(bar for bar in warm_up if bar.symbol in deployment.symbols)
    for step in steps:
        fleet.open(step)
        fleet.marks.update((bar.symbol, bar.close) for bar in step.bars)
        fleet.close(step)
    positions = {
        (account_id, symbol): quantity
        for account_id, account in fleet.accounts.items()
        for symbol, quantity in sorted(account.holdings.items())
        if quantity
    }
    cash = {account_id: account.cash for account_id, account in fleet.accounts.items()}
    return RunResult(fleet.fills, list(fleet.orders.values()), positions, cash, fleet.equity)


@dataclass(slots=True)
class _Run:
    runners: list[tuple[Deployment, Runner]]
    accounts: dict[str, RunAccount]
    scale: Scale
    models: Models
    protection_factor: Decimal
    is_session: bool
    markets: dict[str, Market] = field(default_factory=dict)
    marks: dict[str, Decimal] = field(default_factory=dict)
    waiting: list[tuple[str, Command]] = field(default_factory=list)  # (symbol, command) in command_order
    decided_at: int = 0
    orders: dict[UUID, RunOrder] = field(default_factory=dict)
    fills: list[Fill] = field(default_factory=list)
    held: dict[tuple[UUID, str], Decimal] = field(default_factory=dict)  # by (deployment, symbol)
    equity: dict[str, list[tuple[datetime, Decimal]]] = field(default_factory=dict)

    def open(self, step: Step) -> None:
        events: list[Event] = []
        for symbol, command in self.waiting:
            events += self._market(symbol).apply(command, self.decided_at)
        self.waiting = []
        for bar in step.bars:
            market = self._market(bar.symbol)
            events += market.on_bar(self._in_ticks(bar))
            if self.is_session:
                events += market.end_session(_ns(bar.close_at))
        for event in events:
            self._book(event, step.market_at)

    def close(self, step: Step) -> None:
        self.decided_at = _ns(step.market_at)
        for deployment, runner in self.runners:
            account = self.accounts[deployment.account_id]
            own = [order for order in account.open_orders.values() if order.deployment_id == deployment.deployment_id]
            held = {
                symbol: self.held.get((deployment.deployment_id, symbol), Decimal(0)) for symbol in deployment.symbols
            }
            for intent in runner.step(step.market_at, step.bars, held, [_as_seen(order) for order in own]):
                self._decide(deployment, account, intent, step.market_at)
        for account_id, account in self.accounts.items():
            value = sum((quantity * self.marks[symbol] for symbol, quantity in account.holdings.items()), account.cash)
            self.equity.setdefault(account_id, []).append((step.market_at, value))

    def _decide(self, deployment: Deployment, account: RunAccount, intent: Intent, market_at: datetime) -> None:
        if isinstance(intent, SubmitIntent):
            self._submit(deployment, account, intent, market_at)
        elif order := self.orders.get(intent.target_signal_id):
            # As trading takes a signal back: exits end with an entry that is cancelled.
            is_entry = order.is_open and order.order_class.has_waiting_legs
            group = [order] if is_entry else [each for each in (order, *order.legs) if each.is_open]
            for each in group:
                self._send(account, order.symbol, Cancel(str(each.order_id), each.account_id, account.command_sequence))

    def _submit(self, deployment: Deployment, account: RunAccount, intent: SubmitIntent, market_at: datetime) -> None:
        """As trading accepts it, and in the order in which execution sends a group to a venue that knows groups."""
        signal = signal_id(deployment.deployment_id, market_at, intent.number)
        order = self._order(deployment, intent, signal, signal, market_at)
        for name, leg_intent in intent.legs():
            leg = self._order(deployment, leg_intent, signal, uuid5(signal, name), market_at)
            leg.leg, leg.parent = name, order
            order.legs.append(leg)
        group = [order, *order.legs]
        self.orders[order.order_id] = order
        try:
            places = {each.order_id: self._place(each, account.command_sequence) for each in group}
        except OffGrid as error:
            reason: str | None = f"invalid_{error.what}"
        else:
            is_measured = intent.type not in (OrderType.MARKET, OrderType.TRAILING_STOP) or intent.symbol in self.marks
            reason = account.refusal(order) if is_measured else "no_reference_price"
        if reason is not None:
            order.outcome, order.reason, order.legs = Outcome.DENIED, reason, []
            return
        for each in group:
            self.orders[each.order_id] = account.open_orders[each.order_id] = each
        first = group if order.order_class is OrderClass.OCO else [*order.legs, order]
        self._send(account, intent.symbol, *(places[each.order_id] for each in first))

    def _send(self, account: RunAccount, symbol: str, *commands: Command) -> None:
        self.waiting += [(symbol, command) for command in commands]
        account.command_sequence += 1

    def _order(
        self, deployment: Deployment, intent: SubmitIntent, signal: UUID, order_id: UUID, market_at: datetime
    ) -> RunOrder:
        reference = protection_reference(
            intent.side,
            intent.type,
            self.marks.get(intent.symbol),
            stop_price=intent.stop_price,
            trail_amount=intent.trail_amount,
            trail_percent=intent.trail_percent,
        )
        protection = None
        if reference is not None and is_protected(intent.side, intent.type):
            protection = protection_price(intent.side, reference, self.protection_factor, self.scale.tick)
        return RunOrder(
            order_id=order_id,
            account_id=deployment.account_id,
            deployment_id=deployment.deployment_id,
            signal_id=signal,
            asked=intent,
            protection_price=protection,
            market_at=market_at,
            quantity=intent.quantity,
        )

    def _place(self, order: RunOrder, sequence: int) -> Place:
        asked, parent = order.asked, order.waits_for
        is_group = order.order_class is OrderClass.OCO or (
            parent is not None and order.order_class is OrderClass.BRACKET
        )
        return Place(
            order_ref=str(order.order_id),
            account_id=order.account_id,
            command_sequence=sequence,
            side=asked.side,
            type=asked.type,
            quantity=self.scale.lots(asked.quantity),
            time_in_force=asked.time_in_force,
            limit_price=self._ticks(asked.limit_price),
            protection_price=self._ticks(order.protection_price),
            stop_price=self._ticks(asked.stop_price),
            trail_amount=self._ticks(asked.trail_amount),
            trail_ppm=None if asked.trail_percent is None else trail_ppm(asked.trail_percent),
            expires_at=None if asked.expires_at is None else _ns(asked.expires_at),
            post_only=asked.post_only,
            reduce_only=asked.reduce_only,
            oco_group=str(order.signal_id) if is_group else None,
            parent_ref=None if parent is None else str(parent.order_id),
        )

    def _ticks(self, price: Decimal | None) -> int | None:
        return None if price is None else self.scale.ticks(price)

    def _book(self, event: Event, market_at: datetime) -> None:
        order = self.orders[UUID(event.order_ref)]
        match event:
            case Filled():
                self._fill(order, event, market_at)
            case Replaced():
                order.quantity = self.scale.quantity(event.quantity)
            case Canceled() | Rejected():
                rejected = isinstance(event, Rejected)
                self._end(order, Outcome.REJECTED if rejected else Outcome.CANCELED, event.reason)
            case Expired():
                self._end(order, Outcome.EXPIRED, None)
            case Accepted() | Triggered() | CancelRejected() | ReplaceRejected():
                pass  # neither moves money nor ends an order
        for each in (order.parent or order, *(order.parent or order).legs):
            if each.is_whole:
                self._end(each, Outcome.FILLED, None)

    def _fill(self, order: RunOrder, event: Filled, market_at: datetime) -> None:
        fill = Fill(
            account_id=order.account_id,
            deployment_id=order.deployment_id,
            signal_id=order.signal_id,
            symbol=order.symbol,
            side=order.side,
            quantity=self.scale.quantity(event.last_quantity),
            price=self.scale.price(event.last_price),
            fee=self.scale.fee(event.fee),
            liquidity=str(event.liquidity),
            market_at=market_at,
        )
        self.fills.append(fill)
        self.accounts[order.account_id].book(fill)
        order.filled_quantity += fill.quantity
        order.filled_notional += fill.quantity * fill.price
        order.fee += fill.fee
        key = (order.deployment_id, order.symbol)
        signed = fill.quantity if order.side is Side.BUY else -fill.quantity
        self.held[key] = self.held.get(key, Decimal(0)) + signed

    def _end(self, order: RunOrder, outcome: Outcome, reason: str | None) -> None:
        if self.accounts[order.account_id].open_orders.pop(order.order_id, None):
            order.outcome, order.reason = outcome, reason

    def _market(self, symbol: str) -> Market:
        if symbol not in self.markets:
            self.markets[symbol] = self.models.market(symbol, tick=self.scale.tick, lot=self.scale.lot)
        return self.markets[symbol]

    def _in_ticks(self, bar: Bar) -> MarketBar:
        price = self.scale.ticks
        return MarketBar(
            open_at=_ns(bar.open_at),
            market_at=_ns(bar.close_at),
            open=price(bar.open),
            high=price(bar.high),
            low=price(bar.low),
            close=price(bar.close),
            volume=self.scale.lots_within(bar.volume),
        )


def _as_seen(order: RunOrder) -> OpenOrder:
    return OpenOrder(
        signal_id=order.signal_id,
        symbol=order.symbol,
        side=order.side,
        type=order.asked.type,
        quantity=order.quantity,
        filled_quantity=order.filled_quantity,
        limit_price=order.asked.limit_price,
        stop_price=order.asked.stop_price,
        order_class=order.order_class,
        leg=order.leg,
    )


def _ns(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1_000
