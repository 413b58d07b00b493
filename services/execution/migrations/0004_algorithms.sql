-- An order that an algorithm works has a row that no venue sees; its children are venue orders of the same order.
ALTER TABLE venue_orders ADD COLUMN algo jsonb;
ALTER TABLE venue_orders ADD COLUMN parent_ref uuid;
-- Not concurrently: each file is a transaction of its own.
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX venue_orders_open;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX venue_orders_open ON venue_orders (venue, symbol, venue_order_ref) WHERE ended_at IS NULL AND algo IS NULL;
