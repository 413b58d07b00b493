-- The newest state heard of each scope and target; `target` is null for the system.
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
