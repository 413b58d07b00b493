-- Trading state: what holds now, and every change there was. Versions are one rising number over all scopes, taken
-- under the lock of its single row, so that the order of versions is the order of commits.
CREATE TABLE trading_state_version (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint  NOT NULL DEFAULT 0
);
INSERT INTO trading_state_version DEFAULT VALUES;

CREATE TABLE trading_state_changes (
    version    bigint      PRIMARY KEY,
    epoch      bigint      NOT NULL,
    scope      text        NOT NULL,
    target     text,
    state      text        NOT NULL,
    changed_by text        NOT NULL,
    reason     text        NOT NULL,
    changed_at timestamptz NOT NULL
);

-- The newest change of each scope and target; `target` is null for the system.
CREATE TABLE trading_state (
    scope      text        NOT NULL,
    target     text,
    state      text        NOT NULL,
    epoch      bigint      NOT NULL,
    version    bigint      NOT NULL,
    changed_by text        NOT NULL,
    reason     text        NOT NULL,
    changed_at timestamptz NOT NULL,
    UNIQUE NULLS NOT DISTINCT (scope, target)
);

-- How far the bars of each symbol and timeframe have been released or withheld. Its row is the lock of the series.
CREATE TABLE bar_positions (
    symbol    text NOT NULL,
    timeframe text NOT NULL,
    close_at  timestamptz,
    PRIMARY KEY (symbol, timeframe)
);

-- Ends of steps that came before the last of their bars; passed on in the transaction of that bar.
CREATE TABLE pending_steps (
    timeframe text        NOT NULL,
    market_at timestamptz NOT NULL,
    step      bigint      NOT NULL,
    symbols   text[]      NOT NULL,
    replay_id uuid,
    PRIMARY KEY (timeframe, market_at, step)
);
