"""What the paper venue's markets assume: its settings, and orders that are larger than a quote, through Kafka and rows."""

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fleet_contracts import venue
from fleet_contracts.exchange_connector import VenueInstrument
from fleet_contracts.vocabulary import Liquidity
from fleet_exchange_connector.settings import Settings
from fleet_exchange_connector.store.stocks import stock_bars
from fleet_sdk.bars import Bar, steps
from fleet_sdk.parameters import Parameters
from fleet_sdk.run import Deployment, run
from fleet_sdk.strategy import Context, Strategy
from fleet_simulator import HalfSpread, models_of
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from paper_books import Stored
from paper_books import order as order_of
from pydantic import ValidationError

ACCEPTED, FILLED = venue.VenueOrderAccepted, venue.VenueOrderFilled


def settings(**changed: object) -> Settings:
    fields: dict[str, object] = {
        "service": "exchange-connector",
        "port": 0,
        "kafka_url": "kafka",
        "instances": Path("none"),
        "private_key_file": Path("none"),
        "public_keys_file": Path("none"),
        "database_url": "none",
    }
    return Settings.model_validate(fields | changed)


def test_a_quote_is_taken_up_to_its_size_and_a_replay_is_as_the_demo_has_it() -> None:
    simulated, replay = settings().models, settings(feed="replay").models
    assert (simulated.volume_share, replay.volume_share) == (Fraction(1), None)
    assert {found.slippage for found in (simulated, replay)} == {None}
    assert {found.fees.highest for found in (simulated, replay)} == {Decimal("0.001")}
    assert settings(exchange_connector_volume_share="none").models.volume_share is None
    share = settings(feed="replay", exchange_connector_volume_share="0.1", exchange_connector_slippage="half_spread")
    assert (share.models.volume_share, share.models.slippage) == (Fraction(1, 10), HalfSpread())


@pytest.mark.parametrize(
    ("name", "text"),
    [("volume_share", "2"), ("slippage", "some"), ("fees", "0.001"), ("bar_path", "best_first")],
)
def test_what_names_no_model_is_refused_at_start(name: str, text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(**{f"exchange_connector_{name}": text})
    (error,) = refused.value.errors()
    assert error["loc"] == (f"exchange_connector_{name}",)


def test_a_replay_has_no_latency() -> None:
    with pytest.raises(ValidationError, match="every command waits for the next open"):
        settings(feed="replay", exchange_connector_latency="constant")
    with pytest.raises(ValidationError, match="latency is one of"):
        settings(exchange_connector_latency="slow")
    assert settings(feed="replay").models.latency is None


SHARE: dict[str, Any] = {
    "volume_share": "0.0125",
    "slippage": "volume_share:0.5,0.025",
    "fees": "tiered",
    "bar_path": "worst_first",
}


class Once(Strategy[Parameters]):
    """Buys at the market at its first step."""

    parameters_type = Parameters

    def on_step(self, context: Context) -> None:
        if not context.position("AAPL/USD") and not context.open_orders:
            context.buy("AAPL/USD", 400_000)


async def test_a_replay_and_an_in_process_run_with_the_same_models_fill_alike(open_venue: Any) -> None:
    """more than a share of the day's volume, bought at the market → parts of it at each open, each with its slippage, to the
    last digit those of fleet_sdk.run"""
    days = [bar for bar in stock_bars()["AAPL/USD"] if "2012-01-03" <= f"{bar.open_at:%Y-%m-%d}" <= "2012-01-06"]
    names = list(Bar.__struct_fields__)
    found = [Bar(**{name: getattr(bar, name) for name in names}) for bar in days]
    deployment = Deployment(uuid4(), "A", Once(), ("AAPL/USD",))
    cash = Decimal(10) ** 12
    result = run([deployment], steps(found), **SHARE, tick=Decimal("0.0001"), initial_cash=cash)
    wanted = [(fill.quantity, fill.price, fill.fee, fill.liquidity, fill.market_at) for fill in result.fills]
    assert len(wanted) == 3
    assert all(fill.price > bar.open for fill, bar in zip(result.fills, found[1:], strict=True))
    models = {f"exchange_connector_{name}": text for name, text in SHARE.items()}
    async with open_venue(feed="replay", **models) as venue_, venue_.running():
        order = venue_.place(quantity=Decimal(400_000), protection_price=result.orders[0].protection_price)
        await venue_.command(order)

        async def waits() -> bool:
            return bool(await venue_.fetch("SELECT 1 FROM waiting_commands"))

        await eventually(waits)
        body = {"symbols": ["AAPL/USD"], "timeframe": "1d", "start": "2012-01-04", "end": "2012-01-07"}
        status, shown = await venue_.api("POST", "/paper/replays", body, scopes="strategy")
        assert status == 202, shown
        _, *fills = await venue_.told(order.venue_order_ref, ACCEPTED, FILLED, FILLED, FILLED, timeout_s=30)
    told = [(fill.last_quantity, fill.last_price, fill.fee, str(fill.liquidity)) for fill in fills]
    assert told == [fill[:4] for fill in wanted]


def test_fees_that_are_lowered_are_not_paid_back() -> None:
    dear = Stored(models_of(fees="flat:0.01", volume_share="0.02"))
    dear.quote(100)
    (_, filled) = dear.does(order_of(1, limit_price=200))
    assert filled.fill is not None and filled.fill.fee > 0
    dear.models = models_of(volume_share="0.02")
    dear.book = dear.restored()
    (again,) = dear.quote(100)
    assert again.fill is not None and again.fill.fee == 0


async def test_an_order_larger_than_a_quote_fills_in_parts_through_a_restart(open_venue: Any) -> None:
    """a million lots → what the quote shows → the process ends and another goes on from the rows → each quote its size, at its
    price, with the fees of what was listed"""
    clock = FakeClock()
    models = {"exchange_connector_fees": "maker_taker:0.001,0.002", "exchange_connector_slippage": "half_spread"}
    async with open_venue(clock=clock, exchange_connector_history_days=0, **models) as found:
        order = found.place(quantity=Decimal(1_000_000), limit_price=Decimal(1_000_000))
        fills: list[Any] = []

        async def more() -> bool:
            clock.advance(seconds=0.4)
            fills[:] = [r for r in found.reports(order.venue_order_ref) if isinstance(r, FILLED)]
            return len(fills) > before

        for _ in range(2):
            before = len(fills)
            async with found.running():
                (listed,) = (await found.heard(VenueInstrument, "AAPL/USD,paper", count=1))[:1]
                assert (listed.maker_fee, listed.taker_fee) == (Decimal("0.001"), Decimal("0.002"))
                await found.command(order) if not before else None
                await eventually(more, 20, what="a fill")
        assert len(fills) >= 2
        total = fee = Decimal(0)
        for fill in fills:
            total += fill.last_quantity
            fee += fill.fee
            assert fill.cumulative_quantity == total < 1_000_000
            assert fill.liquidity is Liquidity.TAKER
        notional = sum(fill.last_quantity * fill.last_price for fill in fills)
        assert fee == (notional * Decimal("0.002")).quantize(Decimal("1e-8"))
        assert len({fill.market_at for fill in fills}) == len(fills), "a quote's size is taken once"
