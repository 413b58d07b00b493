-- What only some orders have (trigger, trail, iceberg, expiry, group, pending replace), as one value: nearly all have none,
-- and an order that has none pays for one empty column. What an order must be found by is not in here.
ALTER TABLE orders ADD COLUMN terms jsonb;
