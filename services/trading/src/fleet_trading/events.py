"""Domain ↔ contract messages: what is told of an account, to execution, and what execution's reports say."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from fleet_bus import Transaction
from fleet_chassis.logging import get_logger
from fleet_contracts import trading
from fleet_contracts.topics import (
    TRADING_ACCOUNTS,
    TRADING_ACTIVITY,
    TRADING_GRANTS,
    TRADING_ORDER_COMMANDS,
    TRADING_RISK_BREACHES,
)
from fleet_contracts.vocabulary import (
    GrantState,
    Liquidity,
    OrderClass,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
    TradingStateWord,
)
from prometheus_client import Counter

from . import domain
from .domain import Account, Marks, Order
from .domain.decisions import ALARMING_QUERIES
from .domain.order import tidy
from .domain.portfolio import value, valued
from .domain.risk.usage import FULL, RESTRICTING, LimitsMeasured, Usage
from .ports import Market

log = get_logger("fleet_trading")

ALARMS = Counter("fleet_trading_alarms", "What someone should look at: the code says what.", ("code",))

_SIDES = {side.value: side for side in Side}
_TYPES = {kind.value: kind for kind in OrderType}
_TIMES = {time.value: time for time in TimeInForce}
_STATUSES = {status.value: status for status in OrderStatus}


def order_view(order: Order) -> trading.Order:
    """The order as it stands."""
    return _order_view(
        order,
        status=_STATUSES[order.status],
        filled_quantity=order.filled_quantity,
        average_fill_price=order.average_fill_price,
        fees=tidy(order.fees),
        updated_at=order.updated_at,
        reason=order.reason,
        version=order.version,
    )


def first_view(order: Order) -> trading.Order:
    """The order as it was when it was kept: the same at every repetition of the request, whatever came since."""
    is_denied = order.stand is domain.Stand.DENIED
    if order.terms is not None:
        first = order.terms.first or order.figures
        terms = replace(order.terms, stop_price=first.stop_price, is_triggered=False)
        order = replace(order, quantity=first.quantity, limit_price=first.limit_price, terms=terms)
    return _order_view(
        order,
        status=OrderStatus.DENIED if is_denied else OrderStatus.PENDING_NEW,
        filled_quantity=domain.ZERO,
        average_fill_price=None,
        fees=domain.ZERO,
        updated_at=order.created_at,
        reason=order.reason if is_denied else None,
        version=1,
    )


def _order_view(
    order: Order,
    *,
    status: OrderStatus,
    filled_quantity: Decimal,
    average_fill_price: Decimal | None,
    fees: Decimal,
    updated_at: datetime,
    reason: domain.Reason | None,
    version: int,
) -> trading.Order:
    terms = order.terms
    return trading.Order(
        order_id=order.order_id,
        client_order_id=order.client_order_id,
        user_id=order.user_id,
        account_id=order.account_id,
        deployment_id=order.deployment_id,
        signal_id=order.signal_id,
        symbol=order.symbol,
        side=_SIDES[order.side],
        type=_TYPES[order.type],
        quantity=order.quantity,
        filled_quantity=filled_quantity,
        average_fill_price=average_fill_price,
        limit_price=order.limit_price,
        stop_price=None if terms is None else terms.stop_price,
        time_in_force=_TIMES[order.time_in_force],
        status=status,
        venue=order.venue,
        order_class="simple" if terms is None else terms.order_class.value,
        legs=() if terms is None else order.legs,
        parent_order_id=None if terms is None else order.parent_order_id,
        strategy_id=order.strategy_id,
        fees=fees,
        created_at=order.created_at,
        updated_at=updated_at,
        market_at=order.market_at,
        reason=None if reason is None else trading.Reason(code=reason.code, detail=reason.detail),
        version=version,
        **({} if terms is None else _rare(terms) | {"triggered": terms.is_triggered}),
    )


def _rare(terms: domain.Terms) -> dict[str, Any]:
    """What an order shows only where it has it."""
    return {
        "trail_amount": terms.trail_amount,
        "trail_percent": terms.trail_percent,
        "display_quantity": terms.display_quantity,
        "expires_at": terms.expires_at,
        "post_only": terms.post_only,
        "reduce_only": terms.reduce_only,
    }


def trade_view(trade: domain.Trade, version: int) -> trading.Trade:
    return trading.Trade(
        trade_id=trade.trade_id,
        order_id=trade.order_id,
        account_id=trade.account_id,
        symbol=trade.symbol,
        side=_SIDES[trade.side],
        quantity=trade.quantity,
        price=trade.price,
        fee=tidy(trade.fee),
        fee_currency=trade.fee_currency,
        liquidity=Liquidity(trade.liquidity),
        venue=trade.venue,
        executed_at=trade.executed_at,
        market_at=trade.market_at,
        version=version,
    )


def balance_view(currency: str, balance: domain.Balance, version: int) -> trading.Balance:
    return trading.Balance(
        currency=currency,
        total=tidy(balance.total),
        reserved=tidy(balance.reserved),
        available=tidy(balance.available),
        version=version,
    )


def position_view(symbol: str, position: domain.Position, marks: Marks, version: int) -> trading.Position:
    at_mark = value(symbol, position, marks)
    return trading.Position(
        symbol=symbol,
        quantity=tidy(at_mark.quantity),
        average_price=at_mark.average_price,
        mark_price=at_mark.mark_price,
        market_value=_tidy(at_mark.market_value),
        unrealized_pnl=_tidy(at_mark.unrealized_pnl),
        realized_pnl=tidy(at_mark.realized_pnl),
        version=version,
        opened_at=position.opened_at,
    )


def _tidy(number: Decimal | None) -> Decimal | None:
    return None if number is None else tidy(number)


def portfolio_view(account: Account, market: Market, as_of: datetime, at: datetime | None = None) -> trading.Portfolio:
    """At the marks of now; `at` is the market's time of the change it is shown for."""
    worth = valued(account, market, market.day() if at is None else at.date())
    return trading.Portfolio(
        account_id=account.account_id,
        equity=tidy(worth.equity),
        cash=tidy(worth.cash),
        buying_power=tidy(worth.buying_power),
        positions_value=tidy(worth.positions_value),
        unrealized_pnl=tidy(worth.unrealized_pnl),
        realized_pnl=tidy(worth.realized_pnl),
        day_pnl=tidy(worth.day_pnl),
        as_of=as_of,
        version=account.version,
        settled_cash=tidy(worth.settled_cash),
    )


def account_view(account: Account) -> trading.Account:
    return trading.Account(
        account_id=account.account_id,
        user_id=account.user_id,
        name=account.name,
        kind=account.kind,
        status=account.status.value,
        is_default=account.is_default,
        base_currency=account.base_currency,
        version=account.version,
    )


def grant_view(grant: domain.Grant) -> trading.Grant:
    return trading.Grant(
        deployment_id=grant.deployment_id,
        account_id=grant.account_id,
        user_id=grant.user_id,
        symbols=grant.symbols,
        max_order_notional=grant.max_order_notional,
        expires_at=grant.expires_at,
        state=GrantState.ACTIVE if grant.is_active else GrantState.ENDED,
        version=grant.version,
    )


def _sent(terms: domain.Terms, legs: Sequence[Order]) -> dict[str, Any]:
    """What a SubmitOrder says of an order that has terms."""
    return {
        **_rare(terms),
        "stop_price": terms.stop_price,
        "order_class": OrderClass(terms.order_class.value),
        "legs": tuple(_leg(leg) for leg in legs),
    }


def _leg(leg: Order) -> trading.Leg:
    terms = leg.terms or domain.NO_TERMS
    return trading.Leg(
        order_id=leg.order_id,
        client_order_id=leg.client_order_id,
        side=_SIDES[leg.side],
        order_type=_TYPES[leg.type],
        quantity=leg.quantity,
        limit_price=leg.limit_price,
        protection_price=leg.protection_price,
        time_in_force=_TIMES[leg.time_in_force],
        stop_price=terms.stop_price,
        expires_at=terms.expires_at,
    )


class Announcer:
    """Puts into a transaction what the rest of the fleet must hear of it. `send_by` is None on a replay."""

    def __init__(self, market: Market, *, send_by: timedelta | None) -> None:
        self._market = market
        self._send_by = send_by

    def event(self, tx: Transaction, account: Account, event: domain.Event) -> None:
        """Commands to execution, and alarms."""
        match event:
            case domain.OrderPlaced(order=order):
                submit = self._submit(event)
                tx.publish(TRADING_ORDER_COMMANDS, str(order.account_id), submit, market_at=order.market_at)
            case domain.CancelRequested():
                order = account.orders[event.order_id]
                cancel = trading.CancelOrder(
                    order_id=order.order_id,
                    account_id=order.account_id,
                    user_id=order.user_id,
                    symbol=order.symbol,
                    venue=order.venue,
                )
                market_at = self._market.market_at(order.symbol)
                tx.publish(TRADING_ORDER_COMMANDS, str(order.account_id), cancel, market_at=market_at)
            case domain.ReplaceRequested():
                order = account.orders[event.order_id]
                market_at = self._market.market_at(order.symbol)
                tx.publish(
                    TRADING_ORDER_COMMANDS, str(order.account_id), self._replace(order, event), market_at=market_at
                )
            case domain.OrderQueried():
                self._query(tx, account.orders[event.order_id], event.attempt)
            case domain.FillsMissing():
                _alarm("fills_missing", account, event.order_id, told=str(event.told), booked=str(event.booked))
            case domain.TradeCorrected(fill=fill):
                told = f"{fill.quantity:f} at {fill.price:f}"
                _alarm("trade_corrected", account, event.order_id, trade_id=str(fill.trade_id), told=told)
            case LimitsMeasured():
                for usage in event.breaches:
                    self._breached(tx, account, usage)
            case domain.BoughtUnsettledSold():
                _alarm(event.reason.code, account, event.order_id, detail=event.reason.detail)
            case domain.AccountRestricted():
                _alarm(event.reason.code, account, event.order_id, detail=event.reason.detail)
            case _:
                pass

    def _breached(self, tx: Transaction, account: Account, usage: Usage) -> None:
        is_restricting = usage.limit in RESTRICTING and usage.level == FULL
        breach = trading.AccountBreached(
            account_id=account.account_id,
            user_id=account.user_id,
            limit=usage.limit.value,
            symbol=usage.symbol,
            level_percent=usage.level,
            allowed=tidy(usage.allowed),
            used=tidy(usage.used),
            wanted_state=TradingStateWord.REDUCING if is_restricting else None,
            version=account.version,
        )
        tx.publish(TRADING_RISK_BREACHES, str(account.account_id), breach, market_at=self._market.market_at())

    def _submit(self, event: domain.OrderPlaced) -> trading.SubmitOrder:
        order, algo, terms = event.order, event.algo, event.order.terms
        return trading.SubmitOrder(
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            account_id=order.account_id,
            user_id=order.user_id,
            deployment_id=order.deployment_id,
            signal_id=order.signal_id,
            symbol=order.symbol,
            side=_SIDES[order.side],
            order_type=_TYPES[order.type],
            quantity=order.quantity,
            limit_price=order.limit_price,
            protection_price=order.protection_price,
            time_in_force=_TIMES[order.time_in_force],
            venue=order.venue,
            send_by=None if self._send_by is None else order.created_at + self._send_by,
            algo=None if algo is None else trading.Twap(duration_s=algo.duration_s, slices=algo.slices),
            **({} if terms is None else _sent(terms, event.legs)),
        )

    def _replace(self, order: Order, event: domain.ReplaceRequested) -> trading.ReplaceOrder:
        """Only what changes is named."""
        now, wanted = order.figures, event.wanted
        return trading.ReplaceOrder(
            order_id=order.order_id,
            account_id=order.account_id,
            user_id=order.user_id,
            symbol=order.symbol,
            venue=order.venue,
            quantity=None if wanted.quantity == now.quantity else wanted.quantity,
            limit_price=None if wanted.limit_price == now.limit_price else wanted.limit_price,
            stop_price=None if wanted.stop_price == now.stop_price else wanted.stop_price,
            send_by=None if self._send_by is None else event.now + self._send_by,
        )

    def _query(self, tx: Transaction, order: Order, attempt: int) -> None:
        query = trading.QueryOrder(
            order_id=order.order_id,
            account_id=order.account_id,
            user_id=order.user_id,
            symbol=order.symbol,
            venue=order.venue,
            attempt=attempt,
        )
        market_at = self._market.market_at(order.symbol)
        tx.publish(TRADING_ORDER_COMMANDS, str(order.account_id), query, market_at=market_at)
        if attempt >= ALARMING_QUERIES:
            ALARMS.labels("order_unanswered").inc()
            log.error("order_unanswered", order_id=order.order_id, account_id=order.account_id, attempt=attempt)

    def changed(self, tx: Transaction, account: Account, *, is_new: bool) -> None:
        """All that the transaction changed of the account, in full, under its new version."""
        changes = account.changes
        if is_new or changes.is_status:
            tx.publish(TRADING_ACCOUNTS, str(account.account_id), account_view(account))
        version = account.version
        market_at = changes.market_at or self._market.market_at()
        message = trading.AccountChanged(
            account_id=account.account_id,
            user_id=account.user_id,
            version=version,
            orders=tuple(order_view(order) for order in (*changes.placed.values(), *changes.orders.values())),
            trades=tuple(trade_view(trade, version) for trade in (*changes.trades, *changes.corrected)),
            balances=tuple(balance_view(c, account.balances[c], version) for c in sorted(changes.currencies)),
            positions=tuple(
                position_view(s, account.positions[s], self._market, version) for s in sorted(changes.symbols)
            ),
            portfolio=portfolio_view(account, self._market, tx.now, market_at),
        )
        tx.publish(TRADING_ACTIVITY, str(account.account_id), message, market_at=market_at)

    def granted(self, tx: Transaction, grant: domain.Grant) -> None:
        tx.publish(TRADING_GRANTS, str(grant.deployment_id), grant_view(grant))


def books_do_not_hold(problem: str) -> None:
    """Said by the check that never ends, each time it finds it."""
    ALARMS.labels("books_do_not_hold").inc()
    log.error("books_do_not_hold", problem=problem)


def _alarm(code: str, account: Account, order_id: object, **data: str) -> None:
    ALARMS.labels(code).inc()
    log.error("trading_alarm", code=code, account_id=account.account_id, order_id=order_id, **data)
