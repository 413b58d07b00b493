-- The symbols whose quotes have stopped, each told of once; a row goes when they have come back and that was told.
CREATE TABLE stopped_quotes (
    symbol     text        PRIMARY KEY,
    alert_id   uuid        NOT NULL,
    -- The market's time of the last quote.
    stopped_at timestamptz NOT NULL,
    told_at    timestamptz NOT NULL
);
