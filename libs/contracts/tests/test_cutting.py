"""A message too long for a record becomes several valid ones that mean the same together."""

from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from fleet_contracts import MESSAGE_TYPES, MessageTooLong, encode, encode_cut
from fleet_contracts.execution import OrderReports, OrderUnknown
from fleet_contracts.samples import sample
from fleet_contracts.trading import AccountChanged
from hypothesis import given
from hypothesis import strategies as st

AT = datetime(2026, 1, 2, tzinfo=UTC)


def reports(lengths: list[int]) -> OrderReports:
    events = tuple(
        OrderUnknown(order_id=UUID(int=n), market_at=AT, detail="x" * length) for n, length in enumerate(lengths)
    )
    return OrderReports(account_id=UUID(int=1), user_id=UUID(int=2), reports=events)


@given(st.lists(st.integers(0, 300), max_size=40), st.integers(600, 3_000))
def test_nothing_is_lost_doubled_or_out_of_order(lengths: list[int], most_bytes: int) -> None:
    message = reports(lengths)
    cut = encode_cut(message, most_bytes)
    assert all(len(piece) <= most_bytes for piece in cut)
    pieces = [msgspec.json.decode(piece, type=OrderReports) for piece in cut]
    assert tuple(event for piece in pieces for event in piece.reports) == message.reports
    assert {(piece.account_id, piece.user_id) for piece in pieces} == {(message.account_id, message.user_id)}


def test_what_fits_is_not_touched() -> None:
    message = reports([1, 2, 3])
    assert encode_cut(message, 900_000) == [encode(message)]


def test_each_part_of_an_account_is_told_once_and_its_portfolio_each_time() -> None:
    one = sample(AccountChanged)
    assert isinstance(one, AccountChanged)
    long = msgspec.structs.replace(one, orders=one.orders * 20, trades=one.trades * 30)
    pieces = [msgspec.json.decode(piece, type=AccountChanged) for piece in encode_cut(long, 6_000)]
    assert len(pieces) > 3
    assert sum(len(piece.orders) for piece in pieces) == 20
    assert sum(len(piece.trades) for piece in pieces) == 30
    assert {piece.portfolio for piece in pieces} == {long.portfolio}


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(MessageTooLong, match=r"execution\.OrderReports is \d+ bytes long"):
        encode_cut(reports([5_000]), 1_000)


@pytest.mark.parametrize("name", sorted(MESSAGE_TYPES))
def test_messages_are_cut_along_tuples_that_they_have(name: str) -> None:
    message = sample(MESSAGE_TYPES[name])
    for field in message.cut_along:
        assert isinstance(getattr(message, field), tuple)
