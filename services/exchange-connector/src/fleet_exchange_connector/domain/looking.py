"""How a book follows the simulated market: it looks at the price when a command comes, and when time has it look."""

from datetime import datetime

from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.market import Market
from fleet_exchange_connector.domain.orders import Report


def look(book: Book, market: Market, now: datetime) -> list[Report]:
    """What the market has done to the book's orders since it last looked; from then on the present price stands.

    Every quote since then that some order waited for is shown at its own time, none twice, and none that was said while
    the feed was paused; day orders end with the UTC day. While the feed is paused, or the stored prices are too old, no
    price stands, and what comes waits."""
    if book.market_at >= now and book.round == market.rounds:
        return []
    reports: list[Report] = []
    ends_at = book.session_ends_after(book.market_at)
    if ends_at is not None and ends_at <= now:
        reports += _follow(book, market, ends_at, now)
        reports += book.end_session(ends_at, now=now)
    reports += _follow(book, market, now, now)
    if book.round != market.rounds:
        book.round = market.rounds
        reports += _show_step(book, market, now)
    at = max(now, book.market_at)
    quote = None if market.is_paused else market.quote(book.instrument.symbol, now)
    if quote is None:
        return reports + book.show_nothing(at, now=now)
    return reports + book.show(quote.bid, quote.bid_size, quote.ask, quote.ask_size, at, now=now)


def next_look(book: Book, market: Market, now: datetime) -> datetime | None:
    """When time must have the book look again; None if nothing can happen to its orders by time alone."""
    if not book.open_orders:
        return None
    times = [book.session_ends_after(now)]
    if not market.is_paused:
        ask, bid = book.reach()
        crossing = market.first_crossing(book.instrument.symbol, ask, bid, after=now, until=market.horizon)
        times.append(crossing.quoted_at if crossing else max(market.horizon, now + market.stretch))
    return min((at for at in times if at is not None), default=None)


def _follow(book: Book, market: Market, until: datetime, now: datetime) -> list[Report]:
    reports: list[Report] = []
    while book.open_orders and not market.is_paused:
        ask, bid = book.reach()
        since = max(book.market_at, market.resumed_at)
        quote = market.first_crossing(book.instrument.symbol, ask, bid, after=since, until=until)
        if quote is None:
            break
        reports += book.show(quote.bid, quote.bid_size, quote.ask, quote.ask_size, quote.quoted_at, now=now)
    return reports


def _show_step(book: Book, market: Market, now: datetime) -> list[Report]:
    if market.shown_at is None:
        return []
    quote = market.quote(book.instrument.symbol, market.shown_at)
    if quote is None:
        return []
    at = max(market.shown_at, book.market_at)
    return book.show(quote.bid, quote.bid_size, quote.ask, quote.ask_size, at, now=now)
