-- A second factor: a TOTP secret, recovery codes for when it is lost, and logins that wait for one of them.

CREATE TABLE totp (
    user_id uuid PRIMARY KEY REFERENCES users,
    -- Sealed for this row (sealing.py).
    secret bytea NOT NULL,
    -- Until then it was only shown, and is asked for nowhere.
    confirmed_at timestamptz,
    -- Codes of this step and of those before are used up.
    last_step bigint NOT NULL DEFAULT 0,
    -- Wrong codes in a row, recovery codes too.
    failures integer NOT NULL DEFAULT 0,
    blocked_until timestamptz
);

CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES totp ON DELETE CASCADE,
    -- SHA-256 of 80 random bits; a used one is not there any more.
    code_hash bytea NOT NULL,
    PRIMARY KEY (user_id, code_hash)
);

CREATE TABLE mfa_challenges (
    -- SHA-256 of the mfa_token: the password was right, the code is still to come.
    token_hash bytea PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users,
    expires_at timestamptz NOT NULL
);
CREATE INDEX mfa_challenges_expiry ON mfa_challenges (expires_at);

-- When a second factor was last shown in the session.
ALTER TABLE sessions ADD COLUMN mfa_at timestamptz;
