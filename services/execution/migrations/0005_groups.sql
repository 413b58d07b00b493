-- Orders of one group name the one that brought the others; `leg` is what an order is in it (null: no leg).
ALTER TABLE venue_orders ADD COLUMN group_ref uuid;
ALTER TABLE venue_orders ADD COLUMN leg jsonb;
-- Not concurrently: each file is a transaction of its own.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX venue_orders_group ON venue_orders (group_ref) WHERE group_ref IS NOT NULL;
-- All that a venue says it can do.
ALTER TABLE venues ADD COLUMN capabilities text[] NOT NULL DEFAULT '{}';
