-- What of a balance is not free before a day: proceeds that are on their way, and what was bought with them. Nearly always
-- nothing, and then the column is empty.
ALTER TABLE balances ADD COLUMN unsettled jsonb;
-- Since when, by the market's time, something is held.
ALTER TABLE positions ADD COLUMN opened_at timestamptz;
