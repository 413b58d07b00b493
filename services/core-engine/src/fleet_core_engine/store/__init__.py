"""core-engine's rows in PostgreSQL."""
