-- With the symbol in the same index, a symbol's orders of an account are found without reading those of the others, and
-- acceptance keeps as many indexes as it had. Not concurrently: each file is a transaction of its own.
-- squawk-ignore require-concurrent-index-deletion
DROP INDEX orders_of_account;
-- squawk-ignore require-concurrent-index-creation
CREATE INDEX orders_of_account ON orders (account_id, order_id, symbol);
