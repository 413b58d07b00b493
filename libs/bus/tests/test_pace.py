from fleet_bus.pace import Pace
from hypothesis import given
from hypothesis import strategies as st


def test_who_comes_seldom_never_waits() -> None:
    pace = Pace(0.02, 3)
    assert all(pace.take(n * 0.02) <= 0 for n in range(100))


def test_a_few_may_come_at_once() -> None:
    pace = Pace(0.02, 3)
    pace.take(0.0)
    assert [pace.take(1.0) <= 0 for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=60))
def test_turns_in_any_second_are_bounded(gaps: list[float]) -> None:
    pace = Pace(0.02, 3)
    now, taken = 100.0, []
    for gap in gaps:
        now += gap
        now += max(pace.take(now), 0)  # the next turn is asked for when this one is over
        taken.append(now)
    for first in range(len(taken)):
        within = [at for at in taken[first:] if at - taken[first] <= 0.2]
        assert len(within) <= 0.2 / 0.02 + 3 + 1
