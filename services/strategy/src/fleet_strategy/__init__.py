"""Strategies, deployments and their runtime."""
