-- What owners of accounts are still to be told by mail; gone once it was sent.

CREATE TABLE notices (
    notice_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    event text NOT NULL,
    detail text,
    address text,
    noticed_at timestamptz NOT NULL
);
