-- What the venues said of themselves last. One that cannot list its open orders is not compared with.
CREATE TABLE venues (
    venue text PRIMARY KEY,
    is_connected boolean NOT NULL,
    can_list boolean NOT NULL
);

-- Where no new order goes until the venue's books and ours are found the same; symbol '' is the whole venue.
CREATE TABLE doubts (
    venue text NOT NULL,
    symbol text NOT NULL,
    reason text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (venue, symbol)
);

CREATE TABLE reconciliations (
    reconciliation_id uuid PRIMARY KEY,
    venue text NOT NULL,
    symbol text NOT NULL,
    cause text NOT NULL,
    asked_at timestamptz NOT NULL,
    since_trade_id text,
    outcome text NOT NULL,
    attempt integer NOT NULL,
    page integer NOT NULL,
    after_ref uuid,
    last_trade_id text,
    open_differences integer NOT NULL,
    differences jsonb NOT NULL,
    ended_at timestamptz
);
CREATE INDEX reconciliations_asked ON reconciliations (venue, symbol, asked_at DESC);

-- Not concurrently: each file is a transaction of its own.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX venue_orders_open ON venue_orders (venue, symbol, venue_order_ref) WHERE ended_at IS NULL;
