"""Venue orders, reports and routing."""
