"""Venue sessions, market-data feeds, the paper venue."""
