"""`/ws`: what changes in a user's accounts and on the market, as it happens."""
