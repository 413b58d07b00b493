-- A session ends, however often it is refreshed; some time later it is forgotten.

ALTER TABLE sessions ADD COLUMN ends_at timestamptz NOT NULL DEFAULT now() + interval '30 days';
-- squawk-ignore ban-drop-default
ALTER TABLE sessions ALTER COLUMN ends_at DROP DEFAULT;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX sessions_end ON sessions (ends_at);
