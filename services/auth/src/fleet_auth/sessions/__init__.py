"""A person's own sessions: shown, and ended one by one or all at once."""
