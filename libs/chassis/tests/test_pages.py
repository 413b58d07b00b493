"""Cursors come back as they went, and nothing else is taken for one."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from fleet_chassis.pages import Page, decode_cursor, encode_cursor
from fleet_chassis.problems import Problem
from hypothesis import given
from hypothesis import strategies as st


@given(st.datetimes(timezones=st.just(UTC)), st.uuids(), st.text(max_size=50))
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
