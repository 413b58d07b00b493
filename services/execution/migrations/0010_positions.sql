-- What each account holds at a venue by all its fills there were, for fills are forgotten and their sum is compared.
CREATE TABLE positions (
    venue text NOT NULL,
    symbol text NOT NULL,
    account_id uuid NOT NULL,
    quantity numeric NOT NULL,
    PRIMARY KEY (venue, symbol, account_id)
);
INSERT INTO positions (venue, symbol, account_id, quantity)
SELECT o.venue, o.symbol, o.account_id, sum(CASE o.side WHEN 'buy' THEN f.last_quantity ELSE -f.last_quantity END)
FROM fills f JOIN venue_orders o USING (venue_order_ref)
GROUP BY o.venue, o.symbol, o.account_id;

-- What part of the positions the question that is open asks for.
ALTER TABLE reconciliations ADD COLUMN positions_after uuid;
