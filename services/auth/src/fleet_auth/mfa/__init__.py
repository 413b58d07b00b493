"""Second factors: TOTP, recovery codes, logins in two steps, and a fresh factor for what matters most."""
