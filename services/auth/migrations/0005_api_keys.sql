-- Keys with which programs sign their requests, without a login.

CREATE TABLE api_keys (
    api_key_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    name text NOT NULL,
    -- What a request names itself by; no secret.
    key text NOT NULL UNIQUE,
    -- Sealed for this row: it verifies signatures, so that a hash would not do.
    secret bytea NOT NULL,
    scopes text[] NOT NULL,
    -- NULL: any symbol, any notional, from anywhere, for ever.
    symbols text[],
    max_order_notional numeric,
    ip_allowlist text[],
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    -- To the minute: a gateway asks for a key again after 60 s.
    last_used_at timestamptz,
    revoked_at timestamptz
);
CREATE INDEX api_keys_user ON api_keys (user_id);
