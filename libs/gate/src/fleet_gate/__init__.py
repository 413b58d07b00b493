"""The trading-state gate: what a service that must stop keeps, hears and obeys."""
