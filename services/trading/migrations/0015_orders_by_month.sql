-- Orders lie in months. An id begins with its time, so a month is a range of ids, and a statement that names an id reads
-- one part. What there is stays where it lies, as the first part; the parts to come are made by a due row, one at a time.
-- No part is a default one, as only parts that follow one another can be read newest first without sorting: ids beyond
-- the last month have a part of their own (ADR 0034).
-- squawk-ignore renaming-table
ALTER TABLE orders RENAME TO orders_earliest;
-- squawk-ignore renaming-object
ALTER INDEX orders_pkey RENAME TO orders_earliest_pkey;
-- squawk-ignore renaming-object
ALTER INDEX orders_open RENAME TO orders_earliest_open;
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX orders_of_account;

CREATE TABLE orders (LIKE orders_earliest, PRIMARY KEY (order_id)) PARTITION BY RANGE (order_id);
CREATE INDEX orders_of_account ON orders (account_id, order_id);
CREATE INDEX orders_of_symbol ON orders (account_id, symbol, order_id);
CREATE INDEX orders_open ON orders (account_id, order_id) WHERE stand IN ('new', 'partially_filled');
CREATE TABLE orders_beyond (LIKE orders_earliest) WITH (fillfactor = 80);

DO $$
DECLARE
    next_month timestamptz := (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC';
    bound uuid := lpad(to_hex((extract(epoch FROM next_month) * 1000)::bigint), 12, '0') || repeat('0', 20);
BEGIN
    -- Adopted orders have the ids that their venue told.
    INSERT INTO orders_beyond SELECT * FROM orders_earliest WHERE order_id >= bound;
    DELETE FROM orders_earliest WHERE order_id >= bound;
    EXECUTE format('ALTER TABLE orders ATTACH PARTITION orders_earliest FOR VALUES FROM (MINVALUE) TO (%L)', bound);
    EXECUTE format('ALTER TABLE orders ATTACH PARTITION orders_beyond FOR VALUES FROM (%L) TO (MAXVALUE)', bound);
END
$$;

-- Begun once, it goes on by itself.
INSERT INTO due (kind, aggregate_id, sequence, clock, due_at)
VALUES ('order-months', 'orders', 0, 'wall', '1970-01-01T00:00:00Z');
