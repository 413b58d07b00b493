-- The fills since one that was told before are asked for whenever somebody compares with this venue.
-- Not concurrently: each file is a transaction of its own.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX venue_fills_executed_at ON venue_fills (executed_at);
