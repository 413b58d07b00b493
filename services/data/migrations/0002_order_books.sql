-- The books that venues show, as far as their snapshots and deltas have told them.
CREATE TABLE order_books (
    listing_id integer     PRIMARY KEY,
    -- Of the last delta in it.
    sequence   bigint      NOT NULL DEFAULT 0,
    -- False until a snapshot comes, and again after a delta was missed or did not fit.
    is_whole   boolean     NOT NULL DEFAULT false,
    -- [[price, quantity], …], the best first.
    bids       jsonb       NOT NULL DEFAULT '[]',
    asks       jsonb       NOT NULL DEFAULT '[]',
    market_at  timestamptz
);
