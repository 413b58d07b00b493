-- What helps a person to know his sessions again.

ALTER TABLE sessions
    ADD COLUMN last_used_at timestamptz,
    -- As the gateway saw them when the session began.
    ADD COLUMN address text,
    ADD COLUMN user_agent text;
