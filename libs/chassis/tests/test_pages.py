"""Cursors come back as they went, and nothing else is taken for one."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from fleet_chassis.pages import Page, decode_cursor, encode_cursor
from fleet_chassis.problems import Problem
from hypothesis import given
from hypothesis import strategies as st

times = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@given(times, st.uuids(), st.text(max_size=50))
def test_a_cursor_comes_back_as_it_went(at: datetime, item_id: UUID, text: str) -> None:
    assert decode_cursor(encode_cursor(at, item_id, text), datetime, UUID, str) == (at, item_id, text)


@given(st.text(max_size=80))
def test_no_text_breaks_the_decoder(cursor: str) -> None:
    try:
        decode_cursor(cursor, datetime, UUID)
    except Problem as problem:
        assert (problem.status, problem.code) == (400, "bad_cursor")


@pytest.mark.parametrize("cursor", [encode_cursor("a"), encode_cursor(1, 2), encode_cursor(), "", "%%%", "é"])
def test_a_cursor_of_another_list_is_refused(cursor: str) -> None:
    with pytest.raises(Problem) as raised:
        decode_cursor(cursor, UUID)
    assert raised.value.code == "bad_cursor"


@pytest.mark.parametrize(
    ("cursor", "shape"),
    [
        (encode_cursor(1 << 63), int),
        (encode_cursor("2026-01-05T00:00:00"), datetime),
        (encode_cursor("9999-12-31T23:59:59.999999Z"), datetime),
        (encode_cursor("0001-01-01T00:00:00+14:00"), datetime),
    ],
)
def test_a_place_that_no_list_has_is_refused(cursor: str, shape: type[object]) -> None:
    with pytest.raises(Problem) as raised:
        decode_cursor(cursor, shape)
    assert raised.value.code == "bad_cursor"


def test_pages_cover_the_list_without_gap_or_repetition() -> None:
    everything = list(range(25))
    seen: list[int] = []
    cursor: str | None = None
    while True:
        after = decode_cursor(cursor, int)[0] if cursor else -1
        page = Page[int].of([item for item in everything if item > after][:11], 10, lambda item: (item,))
        seen += page.data
        assert page.has_more == (page.next_cursor is not None)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == everything
