-- What order conditions and groups need: positions for orders that only reduce, replaces that wait for a bar, the prices
-- that a trailing stop has followed.
CREATE TABLE venue_positions (
    symbol text NOT NULL,
    account_id uuid NOT NULL,
    -- What the account's fills here came to; negative if it is short.
    quantity numeric NOT NULL,
    PRIMARY KEY (symbol, account_id)
);

-- As they came: the orders of a group have one command_sequence. What waits is a few rows, so a rewrite is short.
-- squawk-ignore adding-field-with-default
ALTER TABLE waiting_commands ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
-- It is replaced by a wider one.
-- squawk-ignore ban-drop-constraint
ALTER TABLE waiting_commands DROP CONSTRAINT waiting_commands_kind_check;
ALTER TABLE waiting_commands
ADD CONSTRAINT waiting_commands_kind_check CHECK (kind IN ('place', 'replace', 'cancel')) NOT VALID;

-- At the start of the minute before `minute`; NULL where that was not traded.
ALTER TABLE simulated_market ADD COLUMN prices_before jsonb;
