-- What the books have done with and no longer keep in memory. It follows from the journal: written with each snapshot,
-- written again by whoever replays, and never changed.

CREATE TABLE ended_orders (
    -- Made by execution: the key by which an order is placed once.
    venue_order_ref uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    symbol text NOT NULL,
    stand text NOT NULL,
    code text,
    -- In lots.
    cumulative bigint NOT NULL,
    -- The offset of the snapshot that it was kept for.
    kept_upto bigint NOT NULL
);

-- Both sides of each trade; quantities in lots, prices in ticks, fees in 1e-8 of the quote currency.
CREATE TABLE fills (
    symbol text NOT NULL,
    trade bigint NOT NULL,
    venue_order_ref uuid NOT NULL,
    account_id uuid NOT NULL,
    quantity bigint NOT NULL,
    price bigint NOT NULL,
    cumulative bigint NOT NULL,
    fee bigint NOT NULL,
    is_maker boolean NOT NULL,
    executed_at timestamptz NOT NULL,
    market_at timestamptz NOT NULL,
    PRIMARY KEY (symbol, trade, venue_order_ref)
);
CREATE INDEX fills_of_order ON fills (venue_order_ref, trade);
