-- An order whose type its venue does not have waits here for its price (null: its venue has it, or it needs none).
ALTER TABLE venue_orders ADD COLUMN trigger jsonb;
-- Not concurrently: each file is a transaction of its own.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX venue_orders_watched ON venue_orders (venue_order_ref)
WHERE trigger IS NOT NULL AND triggered_at IS NULL AND ended_at IS NULL;
