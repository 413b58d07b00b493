"""Corrections and busts: a trade was another one than the venue had told, or none."""

from fleet_simulator import Side
from fleet_simulator.fees import EXACT

from fleet_exchange_connector.domain.corrections import Correction, Trade, correct, told
from fleet_exchange_connector.ports import CorrectionWork, OrdersReported
from fleet_exchange_connector.service.orders import look_now, market_time


async def correct_trade(work: CorrectionWork, trade: Trade, correction: Correction) -> Trade:
    """Tells it once: what is so already is told by nobody."""
    book = work.book(trade.symbol)
    assert book is not None, "the venue trades what it has traded"
    reports = look_now(work, trade.symbol)
    after = correct(trade, correction, book, now=work.now)
    if after is not trade:
        market_at = market_time(work, trade.symbol)
        moved = EXACT.subtract(after.fill.quantity, trade.fill.quantity)
        signed = moved if trade.side is Side.BUY else moved.copy_negate()
        reports.append(told(after, correction, market_at))
        follows = book.correct_position(trade.fill.account_id, signed, market_at, now=work.now) if signed else []
        work.record(trade.symbol, follows)
        work.correct(trade, after, correction)
        reports += follows
    if reports:
        work.publish(OrdersReported(trade.symbol, reports))
    return after
