"""The edge: forwarding, tokens, rate limits, sockets, documentation."""
