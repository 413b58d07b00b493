-- Browsers cannot send headers when they open a socket: they get a ticket over HTTP and show it in the URL, once.

CREATE TABLE ws_tickets (
    -- SHA-256, as of refresh tokens.
    ticket_hash bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions,
    scopes text[] NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX ws_tickets_expiry ON ws_tickets (expires_at);
