"""Trading state, release of market data, validation of signals."""
