-- A symbol's trades of an account are found without reading those of the others.
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX trades_of_symbol ON trades (account_id, symbol, trade_no);
