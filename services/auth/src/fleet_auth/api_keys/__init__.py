"""API keys: with which programs sign their requests, without a login."""
