"""The use cases of data that decide something; bars are decided where they are stored."""

from datetime import datetime
from decimal import Decimal

from fleet_calendars import UnknownCalendar
from fleet_calendars import names as calendar_names

from .domain.instruments import Terms
from .ports import InstrumentUnitOfWork, QuoteUnitOfWork


def list_instrument(uow: InstrumentUnitOfWork, symbol: str, venue: str, terms: Terms) -> None:
    """A venue tells how it trades an instrument; the same again changes nothing. Raises UnknownCalendar: nobody could say
    when it may be traded, or when its trades settle."""
    if terms.calendar not in calendar_names():
        raise UnknownCalendar(terms.calendar)
    uow.list_at(uow.instrument(symbol).listed(venue, terms), venue, terms)


def take_quote(
    uow: QuoteUnitOfWork,
    symbol: str,
    venue: str,
    *,
    bid: Decimal,
    bid_size: Decimal,
    ask: Decimal,
    ask_size: Decimal,
    market_at: datetime,
) -> None:
    """A quote of the reference venue is the best quote; of other venues and unknown symbols there is no other use yet."""
    quote = uow.quote(symbol, venue)
    if quote is not None:
        uow.save(quote.quoted(bid, bid_size, ask, ask_size, market_at))


def take_trade(
    uow: QuoteUnitOfWork,
    symbol: str,
    venue: str,
    venue_trade_id: str,
    *,
    price: Decimal,
    quantity: Decimal,
    aggressor: str | None,
    market_at: datetime,
) -> None:
    """A print of the market is kept for a while; at the reference venue it is the last price."""
    quote = uow.quote(symbol, venue)
    if quote is not None:
        uow.save(quote.traded(price))
    uow.add_trade(
        symbol,
        venue,
        venue_trade_id,
        price=price,
        quantity=quantity,
        aggressor=aggressor,
        market_at=market_at,
    )


def send_quote(uow: QuoteUnitOfWork, symbol: str) -> None:
    """The time of a quote that had to wait has come."""
    quote = uow.waiting(symbol)
    if quote is not None:
        uow.save(quote)
