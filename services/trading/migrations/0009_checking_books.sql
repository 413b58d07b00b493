-- How far the ledger of each account has been read by the check that never ends, and what its entries came to by then: as
-- entries are never changed, each is read once.
CREATE TABLE checked_accounts (
    account_id uuid PRIMARY KEY,
    entry_no bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE checked_sums (
    account_id uuid NOT NULL,
    currency text NOT NULL,
    -- Of the client's book, and of all books together.
    client numeric NOT NULL,
    everything numeric NOT NULL,
    PRIMARY KEY (account_id, currency)
) WITH (fillfactor = 50);
-- Begun once, it goes on by itself; `aggregate_id` is the account it has come to.
INSERT INTO due (kind, aggregate_id, sequence, clock, due_at)
VALUES ('check-books', '00000000-0000-0000-0000-000000000000', 0, 'wall', '1970-01-01T00:00:00Z');
