"""Contract messages as the domain's values, and back."""

from datetime import timedelta

from fleet_contracts.data import BestQuote, InstrumentDefined
from fleet_contracts.exchange_connector import MarketStepEnded, VenueInstrument
from fleet_contracts.vocabulary import Timeframe

from .domain.bars import Series, Step
from .domain.instruments import Instrument, Terms
from .domain.quotes import QuoteState


def series_id(series: Series) -> str:
    """What a unit of work locks a series by."""
    return f"{series.symbol}|{series.timeframe}"


def series_of_id(identity: str) -> Series:
    symbol, _, timeframe = identity.partition("|")
    return Series(symbol, timeframe)


def step_of(message: MarketStepEnded) -> Step:
    return Step(message.timeframe.value, message.market_at, message.step, message.symbols, message.replay_id)


def step_ended(step: Step) -> MarketStepEnded:
    return MarketStepEnded(
        step=step.step,
        market_at=step.market_at,
        timeframe=Timeframe(step.timeframe),
        symbols=step.symbols,
        replay_id=step.replay_id,
    )


def terms_of(told: VenueInstrument) -> Terms:
    return Terms(
        name=told.name,
        asset_class=told.asset_class,
        base=told.base,
        quote=told.quote,
        tick_size=told.tick_size,
        lot_size=told.lot_size,
        min_quantity=told.min_quantity,
        min_notional=told.min_notional,
        maker_fee=told.maker_fee,
        taker_fee=told.taker_fee,
        calendar=told.calendar,
        simulated=told.simulated,
    )


def instrument_defined(instrument: Instrument) -> InstrumentDefined:
    """Of a defined instrument: its terms are those of its reference venue."""
    terms = instrument.terms
    assert terms is not None
    assert instrument.reference_venue is not None
    return InstrumentDefined(
        symbol=instrument.symbol,
        name=terms.name,
        asset_class=terms.asset_class,
        base=terms.base,
        quote=terms.quote,
        tick_size=terms.tick_size,
        lot_size=terms.lot_size,
        min_quantity=terms.min_quantity,
        min_notional=terms.min_notional,
        maker_fee=terms.maker_fee,
        taker_fee=terms.taker_fee,
        calendar=terms.calendar,
        venues=instrument.venues,
        reference_venue=instrument.reference_venue,
        simulated=terms.simulated,
        version=instrument.version,
    )


def best_quote(quote: QuoteState, venue: str, *, stale_after: timedelta | None) -> BestQuote:
    """Of a quote that has its two sides. `stale_after` None: a replay, whose market stands between its steps."""
    assert quote.bid is not None
    assert quote.bid_size is not None
    assert quote.ask is not None
    assert quote.ask_size is not None
    assert quote.last is not None
    assert quote.market_at is not None
    return BestQuote(
        symbol=quote.symbol,
        venue=venue,
        bid=quote.bid,
        bid_size=quote.bid_size,
        ask=quote.ask,
        ask_size=quote.ask_size,
        last=quote.last,
        market_at=quote.market_at,
        stale_after=None if stale_after is None else quote.market_at + stale_after,
    )
