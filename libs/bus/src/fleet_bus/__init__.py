"""Work, table and live subscriptions, sequences, outbox relay, parking and due rows over Kafka and PostgreSQL."""
