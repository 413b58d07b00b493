"""All that a group of accounts changed, as rows."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from fleet_bus import Transaction
from fleet_chassis.database import columns

from fleet_trading.domain import Account, Order, Posting, Trade
from fleet_trading.domain.risk.state import NO_RISK

from .rows import ACCOUNT_COLUMNS, GRANT_COLUMNS, ORDER_COLUMNS, order_row


def _rows(types: str) -> str:
    """The rows of a statement: an array a column."""
    return "unnest(" + ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(types.split(), start=1)) + ")"


_ACCOUNTS = f"""
UPDATE accounts AS a SET version = n.version, status = n.status, entry_no = n.entry_no, trade_no = n.trade_no,
epoch_trade_no = n.epoch_trade_no, watch_at = n.watch_at, day = n.day, day_open_equity = n.day_open_equity, risk = n.risk,
restriction = n.restriction
FROM {_rows("uuid bigint text bigint bigint bigint timestamptz date numeric jsonb jsonb")}
     AS n (account_id, version, status, entry_no, trade_no, epoch_trade_no, watch_at, day, day_open_equity, risk,
           restriction)
WHERE a.account_id = n.account_id
"""  # noqa: S608  constants, here and below
_BALANCES = f"""
INSERT INTO balances (account_id, currency, total, reserved, unsettled)
SELECT * FROM {_rows("uuid text numeric numeric jsonb")} ON CONFLICT (account_id, currency) DO UPDATE
SET total = excluded.total, reserved = excluded.reserved, unsettled = excluded.unsettled
"""  # noqa: S608
_POSITIONS = f"""
INSERT INTO positions (account_id, symbol, quantity, cost, realized_pnl, opened_at)
SELECT * FROM {_rows("uuid text numeric numeric numeric timestamptz")}
ON CONFLICT (account_id, symbol) DO UPDATE
SET quantity = excluded.quantity, cost = excluded.cost, realized_pnl = excluded.realized_pnl,
    opened_at = excluded.opened_at
"""  # noqa: S608
_ORDER_TYPES = """uuid text uuid uuid uuid uuid uuid text text text text text numeric numeric numeric numeric text text
timestamptz timestamptz timestamptz text text boolean numeric numeric numeric numeric text text bigint timestamptz
integer jsonb"""
_NEW_ORDERS = f"INSERT INTO orders ({ORDER_COLUMNS}, history) SELECT * FROM {_rows(_ORDER_TYPES + ' text')}"  # noqa: S608
_CHANGE_TYPES = """uuid numeric numeric text text boolean numeric numeric numeric numeric text text bigint timestamptz
integer timestamptz jsonb text"""
_ORDERS = f"""
UPDATE orders AS o SET quantity = n.quantity, limit_price = n.limit_price, stand = n.stand, pending = n.pending,
is_accepted = n.is_accepted, filled_quantity = n.filled_quantity,
filled_notional = n.filled_notional, fees = n.fees, reserved = n.reserved,
reason_code = n.reason_code, reason_detail = n.reason_detail, version = n.version, query_at = n.query_at,
queries = n.queries, updated_at = n.updated_at, terms = n.terms,
history = nullif(concat(o.history, n.history), '')
FROM {_rows(_CHANGE_TYPES)}
     AS n (order_id, quantity, limit_price, stand, pending, is_accepted, filled_quantity, filled_notional, fees,
           reserved, reason_code, reason_detail, version, query_at, queries, updated_at,
           terms, history)
WHERE o.order_id = n.order_id AND o.order_id BETWEEN $19 AND $20
"""  # noqa: S608
# By the least and the greatest id no more than the months in between are looked at: of two years of them an order alone
# cost 500 µs more.
_CLAIMS = f"""
INSERT INTO client_order_ids (account_id, client_order_id, order_id, body_hash)
SELECT * FROM {_rows("uuid text uuid bytea")}
"""  # noqa: S608
_TRADE_TYPES = """uuid bigint uuid uuid text text numeric numeric numeric text text text text timestamptz timestamptz
integer bigint"""
_TRADES = f"""
INSERT INTO trades (account_id, trade_no, trade_id, order_id, symbol, side, quantity, price, fee, fee_currency,
liquidity, venue, venue_trade_id, executed_at, market_at, revision, version) SELECT * FROM {_rows(_TRADE_TYPES)}
"""  # noqa: S608
_CORRECTED = f"""
UPDATE trades AS t SET quantity = n.quantity, price = n.price, fee = n.fee, revision = n.revision, version = n.version
FROM {_rows("uuid bigint numeric numeric numeric integer bigint")}
     AS n (account_id, trade_no, quantity, price, fee, revision, version)
WHERE t.account_id = n.account_id AND t.trade_no = n.trade_no
"""  # noqa: S608
# What the entries of a transaction have in common is sent once, and of a pair one: each value sent costs 0.6 µs.
_ENTRIES = """
INSERT INTO entries (account_id, entry_no, transaction_id, book, kind, currency, amount, balance_after, reference,
settles_on, at, market_at)
SELECT posting.account_id, pair.entry_no + leg.nth, posting.transaction_id, leg.book, pair.kind, pair.currency,
       leg.amount, leg.balance_after, posting.reference, posting.settles_on, posting.at, posting.market_at
FROM unnest($1::int[], $2::bigint[], $3::text[], $4::text[], $5::numeric[], $6::numeric[], $7::text[])
     AS pair (nth, entry_no, kind, currency, amount, balance_after, against)
JOIN unnest($8::uuid[], $9::uuid[], $10::text[], $11::date[], $12::timestamptz[], $13::timestamptz[])
     WITH ORDINALITY AS posting (account_id, transaction_id, reference, settles_on, at, market_at, nth) USING (nth)
CROSS JOIN LATERAL (VALUES (0, 'client', pair.amount, pair.balance_after), (1, pair.against, -pair.amount, NULL))
     AS leg (nth, book, amount, balance_after)
"""

INSERT_ACCOUNT = f"""
INSERT INTO accounts ({ACCOUNT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
$17)
ON CONFLICT (account_id) DO NOTHING RETURNING account_id
"""  # noqa: S608  constant columns

KEEP_USER = """
INSERT INTO users (user_id, roles, status, version) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id) DO UPDATE SET roles = excluded.roles, status = excluded.status, version = excluded.version
WHERE users.version < excluded.version
"""
KEEP_GRANT = f"""
INSERT INTO grants ({GRANT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (deployment_id) DO UPDATE SET is_active = excluded.is_active, version = excluded.version
"""  # noqa: S608

_encoder = msgspec.json.Encoder()

Rows = list[tuple[object, ...]]


def account_row(account: Account) -> tuple[object, ...]:
    """In the order of ACCOUNT_COLUMNS."""
    return (
        account.account_id,
        account.user_id,
        account.name,
        account.kind,
        account.base_currency,
        account.is_default,
        account.created_at,
        account.status,
        account.version,
        account.entry_no,
        account.trade_no,
        account.epoch_trade_no,
        account.watch_at,
        account.day,
        account.day_open_equity,
        None if account.risk is NO_RISK else account.risk,
        account.restriction,
    )


def write(
    tx: Transaction,
    accounts: Sequence[Account],
    claims: Sequence[tuple[UUID, str, UUID, bytes]],
    strays: Sequence[Order],
) -> None:
    """Leaves the changes of the accounts, whose versions have been raised, to be written with the transaction."""
    placed = [
        (*order_row(order), _history(account, order))
        for account in accounts
        for order in account.changes.placed.values()
    ]
    tables: list[tuple[str, Rows]] = [
        (_ACCOUNTS, [_changed_account(account) for account in accounts]),
        (_BALANCES, [_balance(a, c) for a in accounts for c in a.changes.currencies]),
        (_POSITIONS, [_position(a, s) for a in accounts for s in a.changes.symbols]),
        (_NEW_ORDERS, placed + [(*order_row(order), None) for order in strays]),
        (_CLAIMS, list(claims)),
        (_TRADES, _trades(accounts)),
        (_CORRECTED, [_corrected(account, t) for account in accounts for t in account.changes.corrected]),
    ]
    for statement, rows in tables:
        if rows:
            tx.write(statement, *columns(rows, len(rows[0])))
    postings = [(account.account_id, posting) for account in accounts for posting in account.changes.postings]
    if postings:
        pairs = [(nth, *pair) for nth, (_, posting) in enumerate(postings, start=1) for pair in posting.pairs]
        tx.write(_ENTRIES, *columns(pairs, 7), *columns([_posting(*posting) for posting in postings], 6))
    changed = [_changed_order(order, account) for account in accounts for order in account.changes.orders.values()]
    if changed:
        order_ids, *others = columns(changed, len(changed[0]))
        tx.write(_ORDERS, order_ids, *others, min(order_ids), max(order_ids))


def _changed_account(account: Account) -> tuple[object, ...]:
    return (
        account.account_id,
        account.version,
        account.status,
        account.entry_no,
        account.trade_no,
        account.epoch_trade_no,
        account.watch_at,
        account.day,
        account.day_open_equity,
        None if account.risk is NO_RISK else account.risk,
        account.restriction,
    )


def _balance(account: Account, currency: str) -> tuple[object, ...]:
    balance = account.balances[currency]
    return account.account_id, currency, balance.total, balance.reserved, balance.unsettled or None


def _position(account: Account, symbol: str) -> tuple[object, ...]:
    position = account.positions[symbol]
    return account.account_id, symbol, position.quantity, position.cost, position.realized_pnl, position.opened_at


def _changed_order(order: Order, account: Account) -> tuple[object, ...]:
    reason = order.reason
    return (
        order.order_id,
        order.quantity,
        order.limit_price,
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
        order.updated_at,
        order.terms,
        _history(account, order),
    )


def _history(account: Account, order: Order) -> str | None:
    """One JSON array a line: text is put behind text without being read, which for jsonb cost three times as much."""
    transitions = account.changes.transitions.get(order.order_id)
    return None if transitions is None else _encoder.encode_lines(transitions).decode()


def _trades(accounts: Sequence[Account]) -> Rows:
    return [
        (
            trade.account_id,
            trade.trade_no,
            trade.trade_id,
            trade.order_id,
            trade.symbol,
            trade.side,
            trade.quantity,
            trade.price,
            trade.fee,
            trade.fee_currency,
            trade.liquidity,
            trade.venue,
            trade.venue_trade_id,
            trade.executed_at,
            trade.market_at,
            trade.revision,
            account.version,
        )
        for account in accounts
        for trade in account.changes.trades
    ]


def _corrected(account: Account, trade: Trade) -> tuple[object, ...]:
    return (
        account.account_id,
        trade.trade_no,
        trade.quantity,
        trade.price,
        trade.fee,
        trade.revision,
        account.version,
    )


def _posting(account_id: UUID, posting: Posting) -> tuple[object, ...]:
    return (
        account_id,
        posting.transaction_id,
        posting.reference,
        posting.settles_on,
        posting.at,
        posting.market_at,
    )
