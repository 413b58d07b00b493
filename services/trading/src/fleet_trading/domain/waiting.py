"""Why an open order is not being filled, as far as the market says; worked out where it is read, kept nowhere."""

from datetime import datetime

from fleet_calendars import ROUND_THE_CLOCK, next_session, session_at

from .order import Order
from .values import Instrument, Reason, Reference, TradingState


def closed(instrument: Instrument, now: datetime) -> str | None:
    """Says that the market is closed, and until when; None: it is open."""
    if instrument.calendar == ROUND_THE_CLOCK:
        return None
    try:
        if session_at(instrument.calendar, now) is not None:
            return None
        opens_at = next_session(instrument.calendar, now).opens_at
    except LookupError as unknown:
        return f"No session of {instrument.symbol} is known: {unknown}."
    return f"{instrument.symbol} is not traded now, it is again from {opens_at:%Y-%m-%dT%H:%M:%SZ} on."


def waits_for(
    order: Order,
    *,
    instrument: Instrument | None,
    reference: Reference | None,
    state: TradingState,
    now: datetime | None,
) -> Reason | None:
    """What keeps the market from filling it: a halt, no session, no new prices of the venue that they come from.

    `now` is None on a replay, whose market moves in steps of its own. None of an order that has ended, or with a reason
    that it was told."""
    if not order.is_open or order.reason is not None or instrument is None:
        return None
    if state is TradingState.HALTED:
        return Reason("market_halted", f"Trading of {order.symbol} is halted.")
    if now is not None and (detail := closed(instrument, now)) is not None:
        return Reason("market_closed", detail)
    if reference is not None and reference.is_stale and order.venue == instrument.venue:
        seen = reference.market_at.isoformat().replace("+00:00", "Z")
        return Reason("stale_reference", f"The last price of {order.symbol} is too old, was of {seen}.")
    return None
