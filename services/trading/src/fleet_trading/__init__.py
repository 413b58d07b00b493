"""Accounts, ledger, orders, positions, portfolio."""
