-- Until when the orders of an account may stay open, as it was set last; trading sets it, the last gates keep what they hear.
CREATE TABLE cancel_after (
    account_id uuid PRIMARY KEY,
    user_id    uuid        NOT NULL,
    set_at     timestamptz NOT NULL,
    -- Null: nothing is ahead.
    cancel_at  timestamptz,
    -- The latest that had come when this was set.
    passed_at  timestamptz
);
