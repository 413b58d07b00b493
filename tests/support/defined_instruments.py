"""Instruments as data defines them, good enough for whoever only has to know that they exist."""

from decimal import Decimal

from fleet_contracts.data import InstrumentDefined


def instrument(symbol: str) -> InstrumentDefined:
    base, _, quote = symbol.partition("/")
    one = Decimal(1)
    return InstrumentDefined(
        symbol=symbol,
        name=base,
        asset_class="stock",
        base=base,
        quote=quote,
        tick_size=one,
        lot_size=one,
        min_quantity=one,
        min_notional=one,
        maker_fee=one,
        taker_fee=one,
        calendar="24/7",
        venues=("paper",),
        reference_venue="paper",
        simulated=True,
        version=1,
    )
