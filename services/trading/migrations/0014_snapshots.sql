-- What an account was worth, hour by hour (for 30 days) and day by day (for ever): of an hour or a day the last that was
-- taken in it. An account in which nothing moves has no new ones.
CREATE TABLE snapshots (
    account_id uuid NOT NULL,
    timeframe text NOT NULL,
    bucket_at timestamptz NOT NULL,
    -- The market's time.
    at timestamptz NOT NULL,
    equity numeric NOT NULL,
    cash numeric NOT NULL,
    -- Of one unit of money since the account's opening or reset.
    growth numeric NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (account_id, timeframe, bucket_at)
);
-- Begun once, it goes on by itself; `aggregate_id` is the account it has come to.
INSERT INTO due (kind, aggregate_id, sequence, clock, due_at)
VALUES ('portfolio-snapshots', '00000000-0000-0000-0000-000000000000', 0, 'wall', '1970-01-01T00:00:00Z');
