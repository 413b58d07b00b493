"""The in-process run on real bars, against plain loops and against what the strategies promise."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from fleet_sdk.accounts import Outcome
from fleet_sdk.bars import Bar, steps
from fleet_sdk.builtin import Breakout, BuyAndHold, BuyTheDip, SmaCross
from fleet_sdk.run import Deployment, RunResult, run
from fleet_sdk.strategy import Strategy
from fleet_simulator import Side

CENT = Decimal("0.01")
FEE, TICK, FACTOR = Decimal("0.001"), Decimal("0.0001"), Decimal("1.05")
SYMBOLS = ("AAPL/USD", "FB/USD", "GOOG/USD", "IBM/USD", "MSFT/USD")


def five_deployments(account_id: str = "paper") -> list[Deployment]:
    return [Deployment(UUID(int=n), account_id, SmaCross(), [symbol]) for n, symbol in enumerate(SYMBOLS)]


def plain_loop(bars: list[Bar], fast: int = 10, slow: int = 30, quantity: int = 20) -> list[tuple[Any, ...]]:
    """The reference's logic on one symbol, in ticks: a cross on bar t fills at the open of t+1, unless protected."""
    closes = [int(bar.close / TICK) for bar in bars]
    fills: list[tuple[Any, ...]] = []
    held = 0
    for t in range(slow, len(bars) - 1):
        before, now = (
            sum(closes[end - fast : end]) * slow - sum(closes[end - slow : end]) * fast for end in (t, t + 1)
        )
        following, at = bars[t + 1].open, bars[t + 1].close_at
        if before <= 0 < now and not held and following <= bars[t].close * FACTOR:
            held = quantity
            fills.append((at, bars[t].symbol, "buy", quantity, following, quantity * following * FEE))
        elif now < 0 <= before and held and following >= bars[t].close * (2 - FACTOR):
            fills.append((at, bars[t].symbol, "sell", held, following, held * following * FEE))
            held = 0
    return fills


def plain(result: RunResult) -> list[tuple[Any, ...]]:
    return [(f.market_at, f.symbol, str(f.side), f.quantity, f.price, f.fee) for f in result.fills]


def test_five_sma_deployments_on_real_bars_fill_as_the_reference_does(stock_bars: list[Bar]) -> None:
    assert len(stock_bars) == 2212
    result = run(five_deployments(), steps(stock_bars), fee_rate=FEE, tick=TICK)
    by_symbol = {s: sorted((b for b in stock_bars if b.symbol == s), key=lambda b: b.close_at) for s in SYMBOLS}
    expected = sorted(fill for bars in by_symbol.values() for fill in plain_loop(bars))
    assert plain(result) == expected
    assert len(expected) > 50

    signed = {"buy": 1, "sell": -1}
    spent = sum(signed[f.side] * f.quantity * f.price + f.fee for f in result.fills)
    assert result.cash == {"paper": Decimal(100_000) - spent}
    for symbol in SYMBOLS:
        held = sum((signed[f.side] * f.quantity for f in result.fills if f.symbol == symbol), Decimal(0))
        assert result.positions.get(("paper", symbol), Decimal(0)) == held
    worth = sum(quantity * by_symbol[symbol][-1].close for (_, symbol), quantity in result.positions.items())
    assert result.equity["paper"][-1] == (stock_bars[-1].close_at, result.cash["paper"] + worth)
    ended = {order.outcome for order in result.orders}
    assert ended <= {Outcome.FILLED, Outcome.CANCELED}, "every order ended"
    again = run(five_deployments(), steps(reversed(stock_bars)), fee_rate=FEE, tick=TICK)
    assert again == result


def test_warm_up_is_history_and_never_acted_on(stock_bars: list[Bar]) -> None:
    aapl = sorted((b for b in stock_bars if b.symbol == "AAPL/USD"), key=lambda b: b.close_at)
    hold = Deployment(UUID(int=1), "A", BuyAndHold(quantity=5), ["AAPL/USD"])
    sma = Deployment(UUID(int=2), "B", SmaCross(), ["AAPL/USD"])
    result = run([hold, sma], steps(aapl[200:]), fee_rate=FEE, tick=TICK, warm_up=aapl[:200])
    whole = run([Deployment(UUID(int=2), "B", SmaCross(), ["AAPL/USD"])], steps(aapl), fee_rate=FEE, tick=TICK)
    assert [(f.price, f.market_at) for f in result.fills if f.account_id == "A"] == [
        (aapl[201].open, aapl[201].close_at)
    ]
    after = [f for f in whole.fills if f.market_at > aapl[200].close_at]
    start = 0 if after[0].side == "buy" else 1  # the whole run may be long when the other begins
    mine = [f for f in result.fills if f.account_id == "B"]
    assert [(f.price, f.market_at) for f in mine] == [(f.price, f.market_at) for f in after[start:]]


def test_breakouts_and_dips_on_real_bars_keep_their_word(stock_bars: list[Bar]) -> None:
    """Entries at the channel's high or the limit, exits at their prices, never more than one position at a time."""
    aapl = sorted((b for b in stock_bars if b.symbol == "AAPL/USD"), key=lambda b: b.close_at)
    lengths = {0: 20, 1: 10}
    strategies: list[Strategy[Any]] = [Breakout(), Breakout(exit="trailing_stop", length=10), BuyTheDip(most_bars=5)]
    found = [Deployment(UUID(int=n), "A", strategy, ["AAPL/USD"]) for n, strategy in enumerate(strategies)]
    result = run(found, steps(aapl), fee_rate=FEE, tick=TICK)
    bar_of = {bar.close_at: bar for bar in aapl}
    orders = {order.order_id: order for order in result.orders}
    held = dict.fromkeys(range(3), Decimal(0))
    kinds = set()
    for fill in result.fills:
        bar = bar_of[fill.market_at]
        assert bar.low <= fill.price <= bar.high
        number = fill.deployment_id.int
        held[number] += fill.quantity if fill.side is Side.BUY else -fill.quantity
        assert held[number] in (0, 20)
        entry = orders[fill.signal_id].asked
        kinds.add((str(entry.type), str(entry.order_class), str(fill.side)))
        if number in lengths and fill.side is Side.BUY:
            length = lengths[number]
            before = [b for b in aapl if b.close_at <= orders[fill.signal_id].market_at][-length:]
            assert entry.stop_price == max(b.high for b in before) // CENT * CENT
            assert fill.price == max(entry.stop_price, bar.open), "at the stop, or at an open beyond it"
    assert kinds == {
        ("stop", "bracket", "buy"),
        ("stop", "bracket", "sell"),
        ("stop", "simple", "buy"),
        ("trailing_stop", "simple", "sell"),
        ("limit", "simple", "buy"),
        ("limit", "oco", "sell"),
        ("market", "simple", "sell"),
    }
