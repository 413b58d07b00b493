-- Signals of every order type and class, and the exits that come with an order.

ALTER TABLE signals
    ADD COLUMN stop_price numeric,
    ADD COLUMN trail_amount numeric,
    ADD COLUMN trail_percent numeric,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN post_only boolean NOT NULL DEFAULT false,
    ADD COLUMN reduce_only boolean NOT NULL DEFAULT false,
    ADD COLUMN order_class text NOT NULL DEFAULT 'simple',
    ADD COLUMN take_profit_price numeric,
    ADD COLUMN stop_loss_price numeric,
    ADD COLUMN stop_loss_limit_price numeric;

ALTER TABLE deployment_orders
    ADD COLUMN stop_price numeric,
    -- Of an exit: the order that it came with.
    ADD COLUMN parent_order_id uuid;
