"""What strategy authors and API clients import."""
