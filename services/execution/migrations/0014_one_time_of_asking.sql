-- `asked_at` is the time of the last question now, and tells what this did.
-- squawk-ignore ban-drop-column
ALTER TABLE reconciliations DROP COLUMN page_asked_at;
