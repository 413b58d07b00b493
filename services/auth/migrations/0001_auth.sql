-- Users, their sessions and refresh tokens, the keys that sign access tokens.

CREATE TABLE users (
    user_id uuid PRIMARY KEY,
    -- Lower case, so that one person cannot register twice by spelling.
    email text NOT NULL UNIQUE,
    display_name text,
    password_hash text NOT NULL,
    roles text[] NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'disabled')),
    version bigint NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE sessions (
    session_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    -- When the last access token handed out in this session ends; a revocation need not be remembered longer.
    last_token_expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoked_reason text
);
CREATE INDEX sessions_user ON sessions (user_id);

CREATE TABLE refresh_tokens (
    -- SHA-256: the tokens are random, so that a slow hash would add nothing.
    token_hash bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions,
    expires_at timestamptz NOT NULL,
    -- A used one is kept until it expires: seen again, it tells that somebody else has it.
    used_at timestamptz
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    public_key bytea NOT NULL,
    -- AES-256-GCM under a key derived from the service's own private key, which is not in the database.
    encrypted_private_key bytea NOT NULL,
    created_at timestamptz NOT NULL,
    -- From then on it verifies but no longer signs.
    retired_at timestamptz
);

CREATE TABLE login_failures (
    -- SHA-256 of the address: attempts at unknown accounts count too, and are nobody's data.
    account_hash bytea PRIMARY KEY,
    failures integer NOT NULL,
    window_ends_at timestamptz NOT NULL
);
CREATE INDEX login_failures_window ON login_failures (window_ends_at);

CREATE TABLE idempotency_keys (
    operation text NOT NULL,
    key text NOT NULL,
    -- HMAC of the body: it holds a password, whose plain hash could be guessed at.
    fingerprint bytea NOT NULL,
    answer jsonb NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (operation, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);
