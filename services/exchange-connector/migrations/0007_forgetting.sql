-- The walk over the orders that forgets what ended long ago: begun once, it goes on by itself. `sequence` is the page it has
-- come to.
INSERT INTO due (kind, aggregate_id, sequence, clock, due_at) VALUES ('forget', '', 0, 'wall', '1970-01-01T00:00:00Z');
