"""Risk before the trade: the limits, the checks that deny by them, and how much of them is used."""
