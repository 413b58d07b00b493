-- What was booked on an account by anything but a trade, each with its source; and for what moves money in or out without
-- being earned, how the account had grown till then.
CREATE TABLE adjustments (
    account_id uuid NOT NULL,
    -- The account's last entry of it.
    entry_no bigint NOT NULL,
    -- Both sides of a transfer have the same.
    transaction_id uuid NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    amount numeric NOT NULL,
    source text NOT NULL,
    other_account_id uuid,
    at timestamptz NOT NULL,
    market_at timestamptz NOT NULL,
    -- The growth of one unit of money since the account's opening or reset, and what the account was worth after this.
    growth numeric,
    equity numeric,
    PRIMARY KEY (account_id, entry_no),
    UNIQUE (transaction_id, account_id)
);
INSERT INTO adjustments (
    account_id, entry_no, transaction_id, kind, currency, amount, source, at, market_at, growth, equity
)
SELECT e.account_id, e.entry_no + 1, e.transaction_id, e.kind, e.currency, e.amount, e.reference, e.at, e.market_at, 1,
    e.amount
FROM entries AS e WHERE e.kind = 'deposit' AND e.book = 'client';

-- The account's trades up to this one were made before its last reset, which has wiped out what they had changed.
ALTER TABLE accounts ADD COLUMN epoch_trade_no bigint NOT NULL DEFAULT 0;
