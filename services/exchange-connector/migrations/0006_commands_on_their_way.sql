-- Where the venue has a latency: when a command that waits arrives. NULL: it waits for its symbol's next bar.
ALTER TABLE waiting_commands ADD COLUMN arrives_at timestamptz;
