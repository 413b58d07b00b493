-- Accounts, their ledger, the client's side of orders, grants of deployments.
-- Every row of an account is written under the lock of its accounts row. No constraint here can refuse a fact:
-- there is no CHECK on an amount and no foreign key that a report could miss.

CREATE TABLE users (
    user_id uuid PRIMARY KEY,
    roles text[] NOT NULL,
    status text NOT NULL,
    -- 0: what an assertion said, before auth's own event came.
    version bigint NOT NULL
);

CREATE TABLE accounts (
    account_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    base_currency text NOT NULL,
    is_default boolean NOT NULL,
    created_at timestamptz NOT NULL,
    status text NOT NULL,
    -- Raised by every transaction that changes anything of the account; what is in memory counts only at this version.
    version bigint NOT NULL,
    -- The last numbers given to an entry and to a trade of this account.
    entry_no bigint NOT NULL,
    trade_no bigint NOT NULL,
    -- When the next row is due that looks for orders without an answer.
    watch_at timestamptz,
    -- The market day, and what the account was worth when it began.
    day date,
    day_open_equity numeric NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX accounts_of_user ON accounts (user_id, created_at);

CREATE TABLE balances (
    account_id uuid NOT NULL,
    currency text NOT NULL,
    total numeric NOT NULL,
    reserved numeric NOT NULL,
    PRIMARY KEY (account_id, currency)
) WITH (fillfactor = 50);

CREATE TABLE positions (
    account_id uuid NOT NULL,
    symbol text NOT NULL,
    quantity numeric NOT NULL,
    cost numeric NOT NULL,
    realized_pnl numeric NOT NULL,
    PRIMARY KEY (account_id, symbol)
) WITH (fillfactor = 50);

-- order_id is a UUID v7, so that it orders by time and ranges of it can become partitions.
CREATE TABLE orders (
    order_id uuid PRIMARY KEY,
    client_order_id text NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    deployment_id uuid,
    signal_id uuid,
    strategy_id uuid,
    symbol text NOT NULL,
    base text NOT NULL,
    quote text NOT NULL,
    side text NOT NULL,
    type text NOT NULL,
    quantity numeric NOT NULL,
    limit_price numeric,
    protection_price numeric,
    highest_fee numeric NOT NULL,
    time_in_force text NOT NULL,
    venue text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    market_at timestamptz NOT NULL,
    stand text NOT NULL,
    pending text NOT NULL,
    is_accepted boolean NOT NULL,
    filled_quantity numeric NOT NULL,
    filled_notional numeric NOT NULL,
    fees numeric NOT NULL,
    reserved numeric NOT NULL,
    reason_code text,
    reason_detail text,
    version bigint NOT NULL,
    query_at timestamptz,
    queries integer NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX orders_of_account ON orders (account_id, order_id);
CREATE INDEX orders_open ON orders (account_id, order_id) WHERE stand IN ('new', 'partially_filled');

-- What a client called an order, for the order's life and 90 days; body_hash tells a repetition from a reuse.
CREATE TABLE client_order_ids (
    account_id uuid NOT NULL,
    client_order_id text NOT NULL,
    order_id uuid NOT NULL,
    body_hash bytea NOT NULL,
    PRIMARY KEY (account_id, client_order_id)
);

CREATE TABLE trades (
    account_id uuid NOT NULL,
    trade_no bigint NOT NULL,
    trade_id uuid NOT NULL,
    order_id uuid NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL,
    quantity numeric NOT NULL,
    price numeric NOT NULL,
    fee numeric NOT NULL,
    fee_currency text NOT NULL,
    liquidity text NOT NULL,
    venue text NOT NULL,
    venue_trade_id text NOT NULL,
    executed_at timestamptz NOT NULL,
    market_at timestamptz NOT NULL,
    -- The account's version that booked it.
    version bigint NOT NULL,
    PRIMARY KEY (account_id, trade_no)
);
CREATE INDEX trades_of_order ON trades (order_id, trade_id);

-- Append only. The house's books are kept under the client's account, so that no row is shared between accounts:
-- each transaction's amounts sum to zero per currency within one account_id.
CREATE TABLE entries (
    account_id uuid NOT NULL,
    entry_no bigint NOT NULL,
    transaction_id uuid NOT NULL,
    book text NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    amount numeric NOT NULL,
    balance_after numeric,
    reference text NOT NULL,
    settles_on date NOT NULL,
    at timestamptz NOT NULL,
    market_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, entry_no)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append only';
END
$$;
CREATE TRIGGER entries_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE grants (
    deployment_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    symbols text[] NOT NULL,
    max_order_notional numeric,
    expires_at timestamptz,
    is_active boolean NOT NULL,
    version bigint NOT NULL
);
