-- What the owner of an address confirms with a token that was sent to it: a registration, a password set anew.

CREATE TABLE confirmations (
    confirmation_id uuid PRIMARY KEY,
    purpose text NOT NULL CHECK (purpose IN ('registration', 'password_reset')),
    email text NOT NULL,
    -- Of a registration. The user is made when it is confirmed, with what was sent in this registration and no other.
    password_hash text,
    display_name text,
    -- SHA-256 of the token, once it was sent: none is, where the address is unknown or taken.
    token_hash bytea UNIQUE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX confirmations_email ON confirmations (email);
CREATE INDEX confirmations_expiry ON confirmations (expires_at);
