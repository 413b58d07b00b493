"""Why a venue did not do what it was asked, or did what it was not: stable codes, and each in a sentence."""

from typing import Final

_SHORT: Final = {"immediate_or_cancel": "ioc", "fill_or_kill": "fok"}
DETAILS: Final = {
    "requested": "Canceled on request.",
    "replaced": "The new quantity is no more than what is filled.",
    "ioc": "What did not fill at once was canceled.",
    "fok": "It could not fill at once and whole.",
    "price_protection": "The market stands beyond the order's protection price, or the venue's price band.",
    "no_liquidity": "Nothing stands to be taken.",
    "self_trade": "It met an order of the same account.",
    "post_only": "It would have traded at once.",
    "minimum_quantity": "Less than its minimum quantity could be traded at its first price.",
    "reduce_only": "There is no position here that it could reduce.",
    "oco": "Another order of its group took its place.",
    "parent_ended": "The order that it waited for has ended.",
    "auction": "It did not trade in its auction.",
    "corporate_action": "It cannot stand after a split or a dividend.",
    "book_full": "The book has no room for another order.",
    "duplicate_order_ref": "There is an open order of this reference.",
    "unknown_order": "There is no such open order here.",
    "invalid_quantity": "A quantity is not a positive multiple of the lot size, or does not go with the order.",
    "invalid_price": "A price is missing, not positive, not a multiple of the tick size, or does not go with the order.",
    "invalid_time_in_force": "Its time in force does not go with its other conditions.",
    "invalid_group": "It cannot stand together with the other orders of its group.",
    # What a venue asks before it comes to the market:
    "unknown_symbol": "This venue does not trade it.",
    "too_late": "It came after the time by which it should have been sent.",
    "already_expired": "Its end has passed.",
    "market_halted": "Trading is halted.",
    "cancel_after": "The account's time to cancel all had come.",
    "market_reducing": "Only orders that reduce a position are taken now.",
}
"""By code. A venue that has rules of its own adds theirs."""


def code_of(reason: str) -> str:
    """The code of an event's reason; of a code itself, the same."""
    return _SHORT.get(reason, reason)
