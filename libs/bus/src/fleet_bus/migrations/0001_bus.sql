-- What the bus keeps in every service's database: who this writer is, what is to be sent, what has been read,
-- what waits because something went wrong, and what time will cause.

CREATE TABLE bus_writer (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    -- Raised by a restore, so that readers accept numbers that begin again.
    epoch bigint NOT NULL DEFAULT 1,
    -- The market time of the last MarketStepEnded; kept on replays only.
    market_at timestamptz
);
INSERT INTO bus_writer DEFAULT VALUES;

CREATE TABLE outbox_sequences (
    topic text NOT NULL,
    key text NOT NULL,
    sequence bigint NOT NULL,
    PRIMARY KEY (topic, key)
);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    key text NOT NULL,
    type text NOT NULL,
    event_id uuid NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    market_at timestamptz,
    traceparent text,
    -- NULL is a tombstone of a compacted topic.
    payload bytea CHECK (octet_length(payload) <= 900000)
);

CREATE TABLE outbox_failed (
    id bigint PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    key text NOT NULL,
    type text NOT NULL,
    event_id uuid NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    market_at timestamptz,
    traceparent text,
    payload bytea,
    error text NOT NULL,
    failed_at timestamptz NOT NULL
);

CREATE TABLE inbox_positions (
    subscription text NOT NULL,
    writer text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    -- The last record applied.
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    -- Later records of this key wait in `parked`.
    is_parked boolean NOT NULL DEFAULT false,
    PRIMARY KEY (subscription, writer, topic, key)
);

CREATE TABLE parked (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    record_offset bigint NOT NULL,
    key text NOT NULL,
    writer text NOT NULL,
    type text NOT NULL,
    event_id uuid NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    occurred_at timestamptz NOT NULL,
    market_at timestamptz,
    traceparent text,
    payload bytea NOT NULL,
    is_not_yet boolean NOT NULL,
    reason text NOT NULL,
    parked_at timestamptz NOT NULL,
    UNIQUE (subscription, writer, topic, key, epoch, sequence)
);

CREATE TABLE parked_skipped (
    id bigint PRIMARY KEY,
    subscription text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    writer text NOT NULL,
    type text NOT NULL,
    event_id uuid NOT NULL,
    epoch bigint NOT NULL,
    sequence bigint NOT NULL,
    payload bytea NOT NULL,
    reason text NOT NULL,
    skipped_by text NOT NULL,
    skipped_reason text NOT NULL,
    skipped_at timestamptz NOT NULL
);

CREATE TABLE due (
    kind text NOT NULL,
    aggregate_id text NOT NULL,
    sequence bigint NOT NULL,
    clock text NOT NULL CHECK (clock IN ('wall', 'market')),
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, aggregate_id, sequence)
);
CREATE INDEX due_by_time ON due (kind, due_at);

CREATE TABLE live_positions (
    subscription text NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    PRIMARY KEY (subscription, topic, partition)
);
