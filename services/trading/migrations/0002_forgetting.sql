-- The walk over the orders, oldest first, that forgets client_order_ids when their time is over: begun once, it goes on
-- by itself from one row to the next. `aggregate_id` is the order it has come to.
INSERT INTO due (kind, aggregate_id, sequence, clock, due_at)
VALUES ('forget-client-order-ids', '00000000-0000-0000-0000-000000000000', 0, 'wall', '1970-01-01T00:00:00Z');
