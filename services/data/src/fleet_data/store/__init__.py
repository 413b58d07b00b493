"""data's rows in PostgreSQL."""
