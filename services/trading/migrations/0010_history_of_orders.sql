-- Every step of an order after it was placed, in the row that each step writes anyway: [version, at, step, status, reason,
-- trade_id] each. How it was placed, the other columns tell.
ALTER TABLE orders ADD COLUMN history jsonb;
