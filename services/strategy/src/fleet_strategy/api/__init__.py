"""The public paths of strategy."""
