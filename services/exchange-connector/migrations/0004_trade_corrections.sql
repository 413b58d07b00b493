-- Trades that an operator has corrected or busted: `venue_fills` has what holds, this what each revision changed.
CREATE TABLE trade_corrections (
    venue_order_ref uuid NOT NULL,
    number integer NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    quantity_before numeric NOT NULL,
    price_before numeric NOT NULL,
    quantity numeric NOT NULL,
    price numeric NOT NULL,
    reason text NOT NULL,
    corrected_by uuid NOT NULL,
    corrected_at timestamptz NOT NULL,
    PRIMARY KEY (venue_order_ref, number, revision),
    FOREIGN KEY (venue_order_ref, number) REFERENCES venue_fills
);

-- Which way a trade went is needed to take it back; NULL for an order from before.
ALTER TABLE venue_orders ADD COLUMN side text;
