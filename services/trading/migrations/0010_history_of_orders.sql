-- Every step of an order after it was placed, in the row that each step writes anyway: lines of JSON, each
-- [version, at, step, status, reason, trade_id]. How it was placed, the other columns tell.
ALTER TABLE orders ADD COLUMN history text;
