"""Numbers and symbols at the edge, exactly."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from fleet_chassis.shapes import Body, Day, DecimalString, Instant, Resource, Symbol
from fleet_contracts.encoding import encode_json, plain
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

exact = st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=-(10**20), max_value=10**20)


class Amount(Body):
    amount: DecimalString


class AmountShown(Resource):
    amount: DecimalString
    at: datetime


class AmountStruct(msgspec.Struct):
    amount: Decimal
    note: str


@given(exact)
def test_a_decimal_survives_the_wire_to_the_last_digit(amount: Decimal) -> None:
    taken = Amount.model_validate_json(json.dumps({"amount": plain(amount)}))
    assert taken.amount == amount
    shown = json.loads(AmountShown(amount=amount, at=datetime(2026, 1, 5, tzinfo=UTC)).model_dump_json())
    assert shown == {"amount": plain(amount), "at": "2026-01-05T00:00:00Z"}
    assert json.loads(encode_json(AmountStruct(amount, "n"))) == {"amount": plain(amount), "note": "n"}


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_no_decimal_is_written_with_an_exponent(amount: Decimal) -> None:
    written = json.loads(encode_json([amount]))[0]
    assert "E" not in written
    assert Decimal(written) == amount


def test_texts_that_look_like_exponents_are_left_alone() -> None:
    content = {"name": "1E-7", "price": Decimal("1E-7"), "raw": msgspec.Raw(b'{"x":["2E-9"]}')}
    assert json.loads(encode_json(content)) == {"name": "1E-7", "price": "0.0000001", "raw": {"x": ["2E-9"]}}


@pytest.mark.parametrize(
    "amount",
    ["1.5", "NaN", "Infinity", '"NaN"', '"1e5"', '""', '"1_000"', '" 1"', '"٣"', "true", "null", "1e400", "1", "0"],
)
def test_what_is_not_an_exact_decimal_is_refused(amount: str) -> None:
    with pytest.raises(ValidationError):
        Amount.model_validate(json.loads(f'{{"amount": {amount}}}'))


@pytest.mark.parametrize("amount", ['"1" ', '"1.000000000000000001"', '"-0.5"', '"0"'])
def test_exact_decimals_in_strings_are_taken(amount: str) -> None:
    assert Amount.model_validate_json(f'{{"amount": {amount}}}').amount == Decimal(json.loads(amount))


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError):
        Amount.model_validate({"amount": "1", "x": 1})


class Traded(Body):
    symbol: Symbol


@pytest.mark.parametrize("symbol", ["AAPL/USD", "AAPL-USD", "AAPL%2FUSD", "AAPL%2fUSD"])
def test_a_symbol_is_taken_in_all_its_forms(symbol: str) -> None:
    assert Traded(symbol=symbol).symbol == "AAPL/USD"


@pytest.mark.parametrize("symbol", ["aapl/usd", "AAPL", "/USD", "A/B/C", "AAPL/", "AAPL USD", "A" * 99 + "/USD", 5])
def test_what_is_not_a_symbol_is_refused(symbol: Any) -> None:
    with pytest.raises(ValidationError):
        Traded(symbol=symbol)


class Since(Body):
    at: Instant


def test_an_instant_is_utc_or_refused() -> None:
    taken = Since.model_validate_json('{"at": "2026-01-05T02:00:00+02:00"}')
    assert taken.at == datetime(2026, 1, 5, tzinfo=UTC)
    assert taken.at.tzinfo is UTC
    for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00", "2026-01-05T02:00:00", "0.5", 5, "2026-01-05"):
        with pytest.raises(ValidationError):
            Since.model_validate_json(json.dumps({"at": at}))


class On(Body):
    day: Day


def test_a_day_is_written_out() -> None:
    assert On.model_validate_json('{"day": "2026-01-05"}').day == date(2026, 1, 5)
    for day in ("0", 0, "2026-01-05T00:00:00", "2026-1-5", "2026-02-30"):
        with pytest.raises(ValidationError):
            On.model_validate_json(json.dumps({"day": day}))
