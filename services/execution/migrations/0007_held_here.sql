-- What execution holds or works itself, by account: what a cancel-after has to take out here.
-- Not concurrently: each file is a transaction of its own.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX venue_orders_held_here ON venue_orders (account_id)
WHERE ended_at IS NULL AND (algo IS NOT NULL OR leg IS NOT NULL OR trigger IS NOT NULL);
