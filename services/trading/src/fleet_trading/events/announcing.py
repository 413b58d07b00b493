"""Domain ↔ contract messages: what is told of an account, to execution, and what execution's reports say."""

from collections.abc import Sequence
from datetime import timedelta
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
    OrderClass,
    TradingStateWord,
)
from prometheus_client import Counter

from fleet_trading import domain
from fleet_trading.domain import Account, Order
from fleet_trading.domain.decisions import ALARMING_QUERIES
from fleet_trading.domain.exact import tidy
from fleet_trading.domain.risk.usage import FULL, RESTRICTING, LimitsMeasured, Usage
from fleet_trading.ports import Market

from .views import (
    SIDES,
    TIMES,
    TYPES,
    account_view,
    balance_view,
    grant_view,
    order_view,
    portfolio_view,
    position_view,
    rare,
    trade_view,
)

log = get_logger("fleet_trading")

ALARMS = Counter("fleet_trading_alarms", "What someone should look at: the code says what.", ("code",))


def _sent(terms: domain.Terms, legs: Sequence[Order]) -> dict[str, Any]:
    """What a SubmitOrder says of an order that has terms."""
    return {
        **rare(terms),
        "stop_price": terms.stop_price,
        "order_class": OrderClass(terms.order_class.value),
        "legs": tuple(_leg(leg) for leg in legs),
    }


def _leg(leg: Order) -> trading.Leg:
    terms = leg.terms or domain.NO_TERMS
    return trading.Leg(
        order_id=leg.order_id,
        client_order_id=leg.client_order_id,
        side=SIDES[leg.side],
        order_type=TYPES[leg.type],
        quantity=leg.quantity,
        limit_price=leg.limit_price,
        protection_price=leg.protection_price,
        time_in_force=TIMES[leg.time_in_force],
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
                    request=order.version,
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
            side=SIDES[order.side],
            order_type=TYPES[order.type],
            quantity=order.quantity,
            limit_price=order.limit_price,
            protection_price=order.protection_price,
            time_in_force=TIMES[order.time_in_force],
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
            request=order.version,
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
