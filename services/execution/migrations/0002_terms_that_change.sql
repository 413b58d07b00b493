-- What more than price, quantity and time an order asks of its venue (null: nothing), and when its trigger was met.
ALTER TABLE venue_orders ADD COLUMN conditions jsonb;
ALTER TABLE venue_orders ADD COLUMN triggered_at timestamptz;
