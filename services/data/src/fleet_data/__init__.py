"""Instruments, quotes, bars and candles."""
