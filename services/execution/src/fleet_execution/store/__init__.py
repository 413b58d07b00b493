"""execution's tables."""
