"""How a book follows the simulated market: it looks at the price when a command comes, and when time has it look."""

from datetime import datetime

from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.market import Market
from fleet_exchange_connector.domain.orders import Report
from fleet_exchange_connector.domain.times import INSTANT, is_midnight, minute_of, minute_start


def look(book: Book, market: Market, now: datetime) -> list[Report]:
    """What the market has done to the book's orders since it last looked; from then on the present price stands.

    Every quote since then that does something to an order is shown at its own time, none twice, and none that was said
    while the feed was paused; sessions end with the UTC day, orders at their own time. While the feed is paused, or the
    stored prices are too old, no price stands, and what comes waits."""
    if book.market_at >= now and book.round == market.rounds and not market.is_paused:
        return []
    reports: list[Report] = []
    while (ends_at := book.next_end()) is not None and ends_at <= now:
        reports += _follow(book, market, ends_at - INSTANT, now)
        if is_midnight(ends_at):
            reports += _end_session(book, market, ends_at, now)
        reports += _stand(book, market, ends_at, now)
    reports += _follow(book, market, now, now)
    if book.round != market.rounds:
        book.round = market.rounds
        reports += _show_step(book, market, now)
    return reports + _stand(book, market, now, now)


def next_look(book: Book, market: Market, now: datetime) -> datetime | None:
    """When time must have the book look again; None if nothing can happen to its orders by time alone."""
    if not book.open_orders:
        return None
    times = [book.next_end()]
    if not market.is_paused:
        reach = book.reach()
        crossing = market.first_quote(book.instrument.symbol, reach.fired, after=now, until=market.horizon)
        if crossing is not None:
            times.append(crossing.quoted_at)
        elif reach.has_trailing:
            # While the prices that a stop has trailed can still be told from what is stored.
            times.append(minute_start(minute_of(now) + 1))
        else:
            times.append(max(market.horizon, now + market.stretch))
    return min((at for at in times if at is not None), default=None)


def _follow(book: Book, market: Market, until: datetime, now: datetime) -> list[Report]:
    reports: list[Report] = []
    while book.open_orders and not market.is_paused:
        since = max(book.market_at, market.resumed_at)
        quote = market.first_quote(book.instrument.symbol, book.reach().touched, after=since, until=until)
        if quote is None:
            break
        reports += book.show(quote, quote.quoted_at, now=now)
    return reports


def _end_session(book: Book, market: Market, ends_at: datetime, now: datetime) -> list[Report]:
    """With the session's last quote, which its closing auction needs."""
    last = market.said(book.instrument.symbol, ends_at - INSTANT)
    reports: list[Report] = []
    if last is not None and last.quoted_at > book.market_at:
        reports = book.show(last, last.quoted_at, now=now)
    return reports + book.end_session(ends_at, now=now)


def _stand(book: Book, market: Market, at: datetime, now: datetime) -> list[Report]:
    quote = market.said(book.instrument.symbol, at)
    shown_at = max(at, book.market_at)
    if quote is None:
        return book.show_nothing(shown_at, now=now)
    return book.show(quote, shown_at, now=now)


def _show_step(book: Book, market: Market, now: datetime) -> list[Report]:
    if market.shown_at is None:
        return []
    quote = market.quote(book.instrument.symbol, market.shown_at)
    if quote is None:
        return []
    at = max(market.shown_at, book.market_at)
    return book.show(quote._replace(quoted_at=at), at, now=now)
