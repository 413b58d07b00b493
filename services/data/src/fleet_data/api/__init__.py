"""data's routes."""
