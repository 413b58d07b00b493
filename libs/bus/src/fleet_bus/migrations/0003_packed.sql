-- Messages of one transaction, kind and key share a record: `sequence` and `event_id` are those of the first.

ALTER TABLE outbox ADD COLUMN messages integer NOT NULL DEFAULT 1;
ALTER TABLE outbox_failed ADD COLUMN messages integer NOT NULL DEFAULT 1;
-- It is read once and gone within milliseconds: not worth compressing.
ALTER TABLE outbox ALTER COLUMN payload SET STORAGE EXTERNAL;
