"""Rows ↔ domain."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec
from fleet_simulator import OrderType, Side, TimeInForce

from fleet_trading.domain import (
    Account,
    AccountStatus,
    Balance,
    Grant,
    Order,
    Pending,
    Position,
    Reason,
    Restriction,
    Stand,
    Terms,
    Trade,
    User,
)
from fleet_trading.domain.risk.limits import MOST_OPEN_ORDERS
from fleet_trading.domain.risk.state import NO_RISK, RiskState

from .limits import limits_of_accounts

ORDER_COLUMNS = """order_id, client_order_id, account_id, user_id, deployment_id, signal_id, strategy_id, symbol, base,
quote, side, type, quantity, limit_price, protection_price, highest_fee, time_in_force, venue, created_at, updated_at,
market_at, stand, pending, is_accepted, filled_quantity, filled_notional, fees, reserved, reason_code, reason_detail,
version, query_at, queries, terms"""
ALL_OPEN = f"""
SELECT {ORDER_COLUMNS} FROM orders
WHERE account_id = $1 AND stand IN ('new', 'partially_filled') ORDER BY order_id LIMIT {MOST_OPEN_ORDERS + 1}
"""  # noqa: S608  constants
_PLAIN = [
    name
    for name in ORDER_COLUMNS.replace("\n", " ").replace(",", "").split()
    if name not in {"side", "type", "time_in_force", "stand", "pending", "reason_code", "reason_detail", "terms"}
]
_SIDES = {side.value: side for side in Side}
_TYPES = {kind.value: kind for kind in OrderType}
_TIMES = {time.value: time for time in TimeInForce}
_STANDS = {stand.value: stand for stand in Stand}
_PENDING = {pending.value: pending for pending in Pending}


def order_of(row: asyncpg.Record) -> Order:
    code, terms = row["reason_code"], row["terms"]
    return Order(
        side=_SIDES[row["side"]],
        type=_TYPES[row["type"]],
        time_in_force=_TIMES[row["time_in_force"]],
        stand=_STANDS[row["stand"]],
        pending=_PENDING[row["pending"]],
        reason=None if code is None else Reason(code, row["reason_detail"]),
        terms=None if terms is None else msgspec.convert(terms, Terms),
        **{name: row[name] for name in _PLAIN},
    )


def order_row(order: Order) -> tuple[object, ...]:
    """In the order of ORDER_COLUMNS."""
    reason = order.reason
    return (
        order.order_id,
        order.client_order_id,
        order.account_id,
        order.user_id,
        order.deployment_id,
        order.signal_id,
        order.strategy_id,
        order.symbol,
        order.base,
        order.quote,
        order.side,
        order.type,
        order.quantity,
        order.limit_price,
        order.protection_price,
        order.highest_fee,
        order.time_in_force,
        order.venue,
        order.created_at,
        order.updated_at,
        order.market_at,
        order.stand,
        order.pending,
        order.is_accepted,
        order.filled_quantity,
        order.filled_notional,
        order.fees,
        order.reserved,
        None if reason is None else reason.code,
        None if reason is None else reason.detail,
        order.version,
        order.query_at,
        order.queries,
        order.terms,
    )


ACCOUNT_COLUMNS = """account_id, user_id, name, kind, base_currency, is_default, created_at, status, version, entry_no,
trade_no, epoch_trade_no, watch_at, day, day_open_equity, risk, restriction"""


def account_of(row: asyncpg.Record, balances: Iterable[asyncpg.Record], positions: Iterable[asyncpg.Record]) -> Account:
    risk, restriction = row["risk"], row["restriction"]
    return Account(
        account_id=row["account_id"],
        user_id=row["user_id"],
        name=row["name"],
        kind=row["kind"],
        base_currency=row["base_currency"],
        is_default=row["is_default"],
        created_at=row["created_at"],
        status=AccountStatus(row["status"]),
        restriction=None if restriction is None else msgspec.convert(restriction, Restriction),
        version=row["version"],
        entry_no=row["entry_no"],
        trade_no=row["trade_no"],
        epoch_trade_no=row["epoch_trade_no"],
        watch_at=row["watch_at"],
        day=row["day"],
        day_open_equity=row["day_open_equity"],
        risk=NO_RISK if risk is None else msgspec.convert(risk, RiskState),
        balances={b["currency"]: _balance(b) for b in balances},
        positions={
            p["symbol"]: Position(p["quantity"], p["cost"], p["realized_pnl"], p["opened_at"]) for p in positions
        },
    )


def _balance(row: asyncpg.Record) -> Balance:
    until = row["unsettled"]
    return Balance(row["total"], row["reserved"], {} if until is None else msgspec.convert(until, dict[date, Decimal]))


async def read_accounts(connection: asyncpg.Connection, account_ids: list[UUID]) -> list[Account]:
    """Without their orders. The caller holds their locks, or reads in one snapshot."""
    rows = await connection.fetch(
        f"""SELECT {ACCOUNT_COLUMNS}, (SELECT roles FROM users AS u WHERE u.user_id = a.user_id) AS roles,
        EXISTS (SELECT 1 FROM risk_limits AS l WHERE l.scope = 'account' AND l.target = a.account_id::text) AS has_limits
        FROM accounts AS a WHERE account_id = ANY($1::uuid[])""",  # noqa: S608  constant columns
        account_ids,
    )
    limited = [row["account_id"] for row in rows if row["has_limits"]]
    limits = await limits_of_accounts(connection, limited) if limited else {}
    balances = await connection.fetch(
        "SELECT account_id, currency, total, reserved, unsettled FROM balances WHERE account_id = ANY($1::uuid[])",
        account_ids,
    )
    positions = await connection.fetch(
        "SELECT account_id, symbol, quantity, cost, realized_pnl, opened_at FROM positions WHERE account_id = ANY($1::uuid[])",
        account_ids,
    )
    accounts = []
    for row in rows:
        account_id = row["account_id"]
        account = account_of(
            row,
            [b for b in balances if b["account_id"] == account_id],
            [p for p in positions if p["account_id"] == account_id],
        )
        account.roles = tuple(sorted(row["roles"] or ()))
        account.limits.update(limits.get(account_id, {}))
        accounts.append(account)
    return accounts


def trade_of(row: asyncpg.Record) -> Trade:
    return Trade(
        side=_SIDES[row["side"]],
        **{name: row[name] for name in Trade.__slots__ if name != "side"},
    )


def user_of(row: asyncpg.Record) -> User:
    return User(row["user_id"], tuple(row["roles"]), row["status"], row["version"])


GRANT_COLUMNS = "deployment_id, account_id, user_id, symbols, max_order_notional, expires_at, is_active, version"


def grant_of(row: asyncpg.Record) -> Grant:
    return Grant(
        deployment_id=row["deployment_id"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        symbols=tuple(row["symbols"]),
        max_order_notional=row["max_order_notional"],
        expires_at=row["expires_at"],
        is_active=row["is_active"],
        version=row["version"],
    )
