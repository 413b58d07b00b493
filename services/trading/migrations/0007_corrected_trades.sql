-- A venue may say afterwards that a trade was another one, or none (quantity 0): the row is what is true now, the ledger
-- keeps what was thought before. How often that has been said of it.
ALTER TABLE trades ADD COLUMN revision integer NOT NULL DEFAULT 0;
