"""What a client and the rest of the fleet are shown of an account: orders, trades, balances, positions, portfolio."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from fleet_contracts import trading
from fleet_contracts.vocabulary import (
    GrantState,
    Liquidity,
    OrderStatus,
    OrderType,
    Side,
    TimeInForce,
)

from fleet_trading import domain
from fleet_trading.domain import Account, Order
from fleet_trading.domain.exact import tidy
from fleet_trading.domain.portfolio import value, valued
from fleet_trading.ports import Market

SIDES = {side.value: side for side in Side}
TYPES = {kind.value: kind for kind in OrderType}
TIMES = {time.value: time for time in TimeInForce}
_STATUSES = {status.value: status for status in OrderStatus}


def order_view(order: Order, *, waits_for: domain.Reason | None = None) -> trading.Order:
    """The order as it stands. `waits_for`: why it is not being filled, where it has no reason of its own."""
    return _order_view(
        order,
        status=_STATUSES[order.status],
        filled_quantity=order.filled_quantity,
        average_fill_price=order.average_fill_price,
        fees=tidy(order.fees),
        updated_at=order.updated_at,
        reason=order.reason or waits_for,
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
        side=SIDES[order.side],
        type=TYPES[order.type],
        quantity=order.quantity,
        filled_quantity=filled_quantity,
        average_fill_price=average_fill_price,
        limit_price=order.limit_price,
        stop_price=None if terms is None else terms.stop_price,
        time_in_force=TIMES[order.time_in_force],
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
        **({} if terms is None else rare(terms) | {"triggered": terms.is_triggered}),
    )


def rare(terms: domain.Terms) -> dict[str, Any]:
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
        side=SIDES[trade.side],
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


def position_view(symbol: str, position: domain.Position, market: Market, version: int) -> trading.Position:
    at_mark = value(symbol, position, market)
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
        is_stale=market.is_stale(symbol),
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
        is_stale=any(held.quantity and market.is_stale(symbol) for symbol, held in account.positions.items()),
    )


def account_view(account: Account) -> trading.Account:
    why = account.restriction
    return trading.Account(
        account_id=account.account_id,
        user_id=account.user_id,
        name=account.name,
        kind=account.kind,
        status=account.status.value,
        is_default=account.is_default,
        base_currency=account.base_currency,
        version=account.version,
        reason=None if why is None else trading.Reason(code=why.code, detail=why.detail),
        restricted_at=None if why is None else why.at,
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
