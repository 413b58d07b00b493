"""Builders, a fake clock, eventually(), the real stack for tests (dev only)."""
