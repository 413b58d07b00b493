"""What the internal venue decides. Pure."""
