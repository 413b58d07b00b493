-- What we asked a venue to do, written in the transaction that asks. No constraint may refuse a fact about it.
CREATE TABLE venue_orders (
    venue_order_ref uuid PRIMARY KEY,
    order_id uuid NOT NULL,
    account_id uuid NOT NULL,
    user_id uuid NOT NULL,
    symbol text NOT NULL,
    venue text NOT NULL,
    side text NOT NULL,
    order_type text NOT NULL,
    quantity numeric NOT NULL,
    limit_price numeric,
    protection_price numeric,
    time_in_force text NOT NULL,
    send_by timestamptz,
    command_sequence bigint NOT NULL,
    stand text NOT NULL,
    cumulative_quantity numeric NOT NULL,
    is_cancel_pending boolean NOT NULL,
    code text,
    detail text,
    market_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    accepted_at timestamptz,
    ended_at timestamptz,
    updated_at timestamptz NOT NULL
);
CREATE INDEX venue_orders_order_id ON venue_orders (order_id);

-- `number` keeps the order in which the fills of one venue order were learnt.
CREATE TABLE fills (
    venue_order_ref uuid NOT NULL REFERENCES venue_orders (venue_order_ref),
    venue_trade_id text NOT NULL,
    number bigint NOT NULL,
    last_quantity numeric NOT NULL,
    last_price numeric NOT NULL,
    cumulative_quantity numeric NOT NULL,
    fee numeric NOT NULL,
    fee_currency text NOT NULL,
    liquidity text NOT NULL,
    executed_at timestamptz NOT NULL,
    market_at timestamptz NOT NULL,
    PRIMARY KEY (venue_order_ref, venue_trade_id)
);

-- Orders of which we said that they were never sent: a SubmitOrder that comes all the same is refused.
CREATE TABLE never_sent (
    venue_order_ref uuid PRIMARY KEY,
    order_id uuid NOT NULL,
    account_id uuid NOT NULL,
    said_at timestamptz NOT NULL
);
