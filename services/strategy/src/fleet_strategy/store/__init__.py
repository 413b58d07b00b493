"""The stores of strategy in PostgreSQL."""
