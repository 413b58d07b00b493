-- Records of several messages did not pay (ADR 0044), and no release wrote any.

-- squawk-ignore ban-drop-column
ALTER TABLE outbox DROP COLUMN messages;
-- squawk-ignore ban-drop-column
ALTER TABLE outbox_failed DROP COLUMN messages;
