"""Against guessing: failed logins counted by account and by address, waits that grow, and lists of networks."""
