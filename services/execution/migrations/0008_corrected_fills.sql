-- How often a fill's venue has said that it was another one.
-- A constant default: no row is rewritten.
-- squawk-ignore adding-field-with-default
ALTER TABLE fills ADD COLUMN revision integer NOT NULL DEFAULT 0;
