"""Measures the fleet on this machine: `make bench`."""
