"""Which decimals may go through the fleet: one that no row or message can hold would stop what others ask for, too."""

from decimal import Decimal

MOST_DIGITS, MOST_DECIMALS = 24, 100
"""Before the point as many as the API takes; after it more than any division leaves, and far less than a row holds."""


def is_bounded(value: Decimal) -> bool:
    """Whether it is a number, below 1E+24 and without more decimals than that."""
    exponent = value.as_tuple().exponent
    return isinstance(exponent, int) and value.adjusted() < MOST_DIGITS and exponent >= -MOST_DECIMALS
