-- Bars, withheld bars and signals that nobody reads any more go, once an hour: begun once, it schedules itself.
INSERT INTO due (kind, aggregate_id, sequence, clock, due_at) VALUES ('forget', '', 0, 'wall', '1970-01-01T00:00:00Z');
