-- Failed logins by account and by address with waits that grow, and where an account's owner is not shut out by others.

-- What was counted in the last minutes is forgotten.
-- squawk-ignore ban-drop-table
DROP TABLE login_failures;

CREATE TABLE failures (
    -- SHA-256 of what is counted: an account, an account from an address of its owner, an address, mails to an address.
    key_hash bytea PRIMARY KEY,
    -- One is forgotten every so often: the time tells how many there are.
    forgotten_at timestamptz NOT NULL,
    blocked_until timestamptz
);
CREATE INDEX failures_forgotten ON failures (forgotten_at);

CREATE TABLE known_addresses (
    account_hash bytea NOT NULL,
    address_hash bytea NOT NULL,
    known_until timestamptz NOT NULL,
    PRIMARY KEY (account_hash, address_hash)
);
CREATE INDEX known_addresses_end ON known_addresses (known_until);
