-- Tickets for sockets that were asked for with an API key.

CREATE TABLE api_key_tickets (
    -- SHA-256, as of the tickets of sessions.
    ticket_hash bytea PRIMARY KEY,
    api_key_id uuid NOT NULL REFERENCES api_keys,
    expires_at timestamptz NOT NULL
);
CREATE INDEX api_key_tickets_expiry ON api_key_tickets (expires_at);
