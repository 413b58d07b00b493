-- The paper venue: its books, the orders and fills it has to answer for, the simulated market, and the replays.

-- One row a symbol: the lock of its book, and all of the book's state but the orders. An empty state has seen nothing.
CREATE TABLE books (
    symbol text PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0,
    open_orders integer NOT NULL DEFAULT 0 CHECK (open_orders >= 0),
    state jsonb NOT NULL DEFAULT '{}'
);

CREATE TABLE venue_orders (
    -- Made by execution: the idempotency key at the venue.
    venue_order_ref uuid PRIMARY KEY,
    symbol text NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    quantity numeric NOT NULL,
    stand text NOT NULL CHECK (stand IN ('working', 'filled', 'canceled', 'expired', 'rejected')),
    cumulative_quantity numeric NOT NULL,
    code text,
    detail text,
    -- The order in its book, while it is open: integers of ticks and lots.
    open jsonb,
    placed_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX venue_orders_open ON venue_orders (symbol) WHERE open IS NOT NULL;

CREATE TABLE venue_fills (
    venue_order_ref uuid NOT NULL REFERENCES venue_orders,
    number integer NOT NULL,
    account_id uuid NOT NULL,
    quantity numeric NOT NULL,
    price numeric NOT NULL,
    cumulative_quantity numeric NOT NULL,
    fee numeric NOT NULL,
    fee_currency text NOT NULL,
    liquidity text NOT NULL,
    executed_at timestamptz NOT NULL,
    market_at timestamptz NOT NULL,
    PRIMARY KEY (venue_order_ref, number)
);

-- Commands that wait for their symbol's next bar, on a replay.
CREATE TABLE waiting_commands (
    venue_order_ref uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('place', 'cancel')),
    command_sequence bigint NOT NULL,
    symbol text NOT NULL,
    account_id uuid NOT NULL,
    command jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (venue_order_ref, kind, command_sequence)
);
CREATE INDEX waiting_commands_by_symbol ON waiting_commands (symbol);

CREATE TABLE simulated_market (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Minutes since 1970: where history ends, and the minute to be closed next.
    first_minute bigint NOT NULL,
    minute bigint NOT NULL,
    step bigint NOT NULL,
    -- Symbol -> [millionths of the quote currency, regime] at the start of `minute`.
    prices jsonb NOT NULL,
    resumed_at timestamptz NOT NULL,
    is_paused boolean NOT NULL,
    rounds bigint NOT NULL,
    shown_at timestamptz,
    history_next integer
);

-- Taken by the process that gets the feed's lock: readers of what is produced directly drop the epoch before it.
CREATE TABLE feed_epoch (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch bigint NOT NULL
);
INSERT INTO feed_epoch (epoch) VALUES (0);

CREATE TABLE replays (
    replay_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    symbols text[] NOT NULL,
    timeframe text NOT NULL,
    start_at timestamptz NOT NULL,
    end_at timestamptz NOT NULL,
    pace numeric,
    steps integer NOT NULL,
    bars_total integer NOT NULL,
    status text NOT NULL CHECK (status IN ('running', 'stalled', 'done', 'failed', 'canceled')),
    step integer NOT NULL,
    phase text NOT NULL CHECK (phase IN ('open', 'bars', 'close')),
    bars integer NOT NULL,
    market_at timestamptz,
    waiting_for text[] NOT NULL,
    is_cancel_requested boolean NOT NULL,
    reason text,
    idempotency_key text,
    request_hash bytea NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (user_id, idempotency_key)
);
-- One at a time.
CREATE UNIQUE INDEX replays_running ON replays ((true)) WHERE status IN ('running', 'stalled');

-- What was last said of instruments and venue, so that it is said again only when it has changed.
CREATE TABLE told (
    key text PRIMARY KEY,
    content jsonb NOT NULL
);
