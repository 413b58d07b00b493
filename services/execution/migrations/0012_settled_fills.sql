-- Fills that a venue lists of orders not known here, and that an administrator has taken for settled; never many.
CREATE TABLE settled_fills (
    venue_order_ref uuid NOT NULL,
    venue_trade_id text NOT NULL,
    PRIMARY KEY (venue_order_ref, venue_trade_id)
);
