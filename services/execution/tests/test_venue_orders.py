"""The decisions about one venue order, whatever a venue says and in whatever order it says it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from fleet_contracts import execution
from fleet_execution.domain import (
    Accepted,
    Amend,
    Ask,
    Cancel,
    Canceled,
    CancelRejected,
    Change,
    Disowned,
    Expired,
    Filled,
    OrderKey,
    Place,
    Rejected,
    Replaced,
    ReplaceRejected,
    Stand,
    Stated,
    Terms,
    Triggered,
    VenueFact,
    VenueOrder,
    refused,
    submit,
    venue_order_ref,
)
from fleet_execution.events import messages
from fleet_execution.events.said import RECORD_FACTS
from fleet_execution.ports import Told
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

NOW = datetime(2026, 1, 5, 15, tzinfo=UTC)
KEY = OrderKey.of(UUID(int=1), UUID(int=2), UUID(int=3), "AAPL/USD", "paper")
TERMS = Terms("buy", "market", Decimal(10), None, Decimal(105), "ioc", NOW + timedelta(seconds=5))


def sent(terms: Terms = TERMS) -> VenueOrder:
    order, _ = submit(KEY, terms, command_sequence=7, market_at=NOW, now=NOW, refusal=None)
    return order


def fill(cumulative: int, quantity: int | None = None, trade: str | None = None) -> Filled:
    last = cumulative if quantity is None else quantity
    name = trade or f"t{cumulative}"
    return Filled(NOW, name, Decimal(last), Decimal(100), Decimal(cumulative), Decimal("0.1"), "USD", "taker", NOW)


def learn(order: VenueOrder, *facts: VenueFact) -> tuple[VenueOrder, list[object]]:
    told: list[object] = []
    for fact in facts:
        order, outcomes = order.learn(fact, now=NOW)
        told += outcomes
    return order, told


def test_an_order_in_time_is_placed() -> None:
    order, outcomes = submit(KEY, TERMS, command_sequence=7, market_at=NOW, now=TERMS.send_by or NOW, refusal=None)
    assert (order.stand, outcomes) == (Stand.SENT, (Place(7, TERMS),))


@pytest.mark.parametrize(
    ("late_s", "refusal", "code"),
    [(5.001, None, "too_late"), (0, "market_halted", "market_halted"), (5.001, "venue_in_doubt", "too_late")],
)
def test_an_order_that_may_not_go_is_refused_with_the_reason(late_s: float, refusal: str | None, code: str) -> None:
    order, (told,) = submit(
        KEY,
        TERMS,
        command_sequence=7,
        market_at=NOW,
        now=NOW + timedelta(seconds=late_s),
        refusal=refused(refusal) if refusal else None,
    )
    assert isinstance(told, Rejected)
    assert (order.stand, order.code, told.code) == (Stand.REFUSED, code, code)
    assert order.query(command_sequence=8, market_at=NOW) == (told,)


def test_without_a_send_by_no_time_is_too_late() -> None:
    late = NOW + timedelta(days=9999)
    order, _ = submit(KEY, replace(TERMS, send_by=None), command_sequence=7, market_at=NOW, now=late, refusal=None)
    assert order.stand is Stand.SENT


def test_a_fill_before_the_acceptance_implies_it() -> None:
    order, told = learn(sent(), fill(4), Accepted(NOW))
    assert order.stand is Stand.WORKING
    assert order.accepted_at == NOW
    assert told == [fill(4)]


def test_a_fill_told_twice_is_one_fill() -> None:
    order, told = learn(sent(), fill(10), fill(10))
    assert (order.stand, order.cumulative_quantity, told) == (Stand.FILLED, Decimal(10), [fill(10)])


def test_one_venue_answer_ends_however_many_cancels() -> None:
    order, outcomes = sent().cancel(command_sequence=8, market_at=NOW, now=NOW)
    assert outcomes == (Cancel(8),)
    order, outcomes = order.cancel(command_sequence=9, market_at=NOW, now=NOW)
    assert outcomes == ()
    order, told = learn(order, Canceled(NOW, "requested", "", Decimal(0)))
    assert (order.stand, order.is_cancel_pending, len(told)) == (Stand.CANCELED, False, 1)


def test_a_fill_that_overtook_the_cancel_stands_and_the_cancel_is_refused() -> None:
    order, _ = sent().cancel(command_sequence=8, market_at=NOW, now=NOW)
    order, told = learn(order, fill(10), CancelRejected(NOW, "too_late_to_cancel", "filled"))
    assert order.stand is Stand.FILLED
    assert [type(fact) for fact in told] == [Filled, CancelRejected]
    _, (answer,) = order.cancel(command_sequence=9, market_at=NOW, now=NOW)
    assert isinstance(answer, CancelRejected)


def test_a_refusal_is_told_with_the_wish_it_answers_also_after_one_that_was_told_again() -> None:
    order, (cancel,) = sent().cancel(command_sequence=8, market_at=NOW, now=NOW, request=5)
    assert cancel == Cancel(8, 5)
    again, answer = (CancelRejected(NOW, "busy", "not now", request) for request in (3, 5))
    order, told = learn(order, again, answer)
    assert (order.is_cancel_pending, told) == (False, [again, answer])
    _, told = learn(order, Canceled(NOW, "requested", "", Decimal(0)), answer)
    assert told[1:] == []


def test_a_fill_after_the_cancel_is_booked_and_the_order_stays_canceled() -> None:
    order, told = learn(sent(), Canceled(NOW, "requested", "", Decimal(0)), fill(3))
    assert (order.stand, order.cumulative_quantity, told[-1]) == (Stand.CANCELED, Decimal(3), fill(3))


def test_an_end_that_counts_more_than_we_saw_makes_us_ask() -> None:
    order, told = learn(sent(), Canceled(NOW, "requested", "", Decimal(3)))
    assert told[-1] == Ask(7)
    order, told = learn(order, Stated(NOW, Stand.CANCELED, Decimal(3), (fill(3),), None, None))
    (state,) = told
    assert isinstance(state, Stated)
    assert (order.cumulative_quantity, state.fills) == (Decimal(3), (fill(3),))


def test_a_query_of_an_open_order_asks_the_venue_and_of_an_ended_one_does_not() -> None:
    assert sent().query(command_sequence=8, market_at=NOW) == (Ask(8),)
    order, _ = learn(sent(), fill(10))
    (state,) = order.query(command_sequence=8, market_at=NOW)
    assert state == Stated(NOW, Stand.FILLED, Decimal(10), (fill(10),), None, None)


def test_a_cancel_that_the_venue_lost_can_be_asked_again() -> None:
    order, _ = learn(sent(), Accepted(NOW))
    order, _ = order.cancel(command_sequence=8, market_at=NOW, now=NOW)
    order, _ = learn(order, Stated(NOW, Stand.WORKING, Decimal(0), (), None, None))
    assert order.cancel(command_sequence=9, market_at=NOW, now=NOW)[1] == (Cancel(9),)


def test_an_order_that_the_venue_never_saw_is_rejected_once_it_says_so() -> None:
    order, (told,) = learn(sent(), Stated(NOW, None, Decimal(0), (), None, None))
    assert isinstance(told, Rejected)
    assert (order.stand, told.code) == (Stand.REJECTED, "unknown_at_venue")


def test_an_accepted_order_that_the_venue_denies_stays_open() -> None:
    order, told = learn(sent(), Accepted(NOW), Stated(NOW, None, Decimal(0), (), None, None))
    assert order.stand is Stand.WORKING
    assert isinstance(told[-1], Disowned)


LIMIT = replace(TERMS, order_type="limit", limit_price=Decimal(100), protection_price=None, time_in_force="gtc")
WISH = Change(Decimal(4), Decimal(101), None, None)


def test_a_replace_is_passed_on_and_the_venues_word_becomes_the_terms() -> None:
    order, _ = learn(sent(LIMIT), Accepted(NOW))
    assert order.amend(WISH, command_sequence=8, market_at=NOW, now=NOW) == (Amend(8, WISH),)
    fact = Replaced(NOW, Decimal(4), Decimal(101), None, Decimal(0))
    order, told = learn(order, fact)
    assert (order.terms.quantity, order.terms.limit_price, told) == (Decimal(4), Decimal(101), [fact])
    order, _ = learn(order, fill(4))
    assert order.stand is Stand.FILLED, "it is full at its new total"


def test_a_replace_to_what_is_filled_ends_the_order_and_one_that_counts_more_asks() -> None:
    order, _ = learn(sent(LIMIT), fill(4))
    done, _ = learn(order, Replaced(NOW, Decimal(4), Decimal(101), None, Decimal(4)))
    assert done.stand is Stand.FILLED
    _, told = learn(order, Replaced(NOW, Decimal(8), Decimal(101), None, Decimal(6)))
    assert told[-1] == Ask(7)


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (learn(sent(LIMIT), fill(10))[0], "too_late_to_replace"),
        (sent(LIMIT).cancel(command_sequence=8, market_at=NOW, now=NOW)[0], "cancel_pending"),
    ],
)
def test_a_replace_that_cannot_be_is_refused_without_the_venue(order: VenueOrder, code: str) -> None:
    (refused,) = order.amend(WISH, command_sequence=9, market_at=NOW, now=NOW)
    assert isinstance(refused, ReplaceRejected)
    assert refused.code == code
    late = replace(WISH, send_by=NOW)
    (refused,) = sent(LIMIT).amend(late, command_sequence=9, market_at=NOW, now=NOW + timedelta(seconds=1))
    assert isinstance(refused, ReplaceRejected)
    assert refused.code == "too_late"


def test_a_trigger_is_told_once_and_implies_acceptance() -> None:
    order, told = learn(sent(LIMIT), Triggered(NOW, Decimal(99)), Triggered(NOW, Decimal(99)))
    assert (order.stand, order.triggered_at, told) == (Stand.WORKING, NOW, [Triggered(NOW, Decimal(99))])


def test_the_ref_of_an_order_never_changes() -> None:
    assert venue_order_ref(UUID(int=1)) == venue_order_ref(UUID(int=1)) == KEY.ref
    assert venue_order_ref(UUID(int=2)) != KEY.ref


facts = st.one_of(
    st.just(Accepted(NOW)),
    st.just(Rejected(NOW, "no", "no")),
    st.integers(1, 12).map(fill),
    st.integers(0, 12).map(lambda n: Canceled(NOW, "requested", "", Decimal(n))),
    st.just(CancelRejected(NOW, "no", "no")),
    st.integers(0, 12).map(lambda n: Expired(NOW, Decimal(n))),
    st.tuples(st.sampled_from([None, *Stand]), st.sets(st.integers(1, 12))).map(
        lambda told: Stated(
            NOW, told[0], Decimal(max(told[1], default=0)), tuple(map(fill, sorted(told[1]))), None, None
        )
    ),
)


@given(st.lists(facts | st.just("cancel"), max_size=12))
def test_whatever_a_venue_says_an_end_is_final_and_no_fill_is_lost_or_doubled(said: list[VenueFact | str]) -> None:
    order = sent()
    told_fills: set[str] = set()
    heard_fills: set[str] = set()
    ended: Stand | None = None
    for fact in said:
        if isinstance(fact, str):
            order, outcomes = order.cancel(command_sequence=8, market_at=NOW, now=NOW)
        else:
            order, outcomes = order.learn(fact, now=NOW)
        heard = (fact,) if isinstance(fact, Filled) else fact.fills if isinstance(fact, Stated) else ()
        # An answer "never seen" that carries fills contradicts itself; the fills count only of an order we keep.
        if not (isinstance(fact, Stated) and fact.stand is None and ended is None):
            heard_fills |= {f.venue_trade_id for f in heard}
        for outcome in outcomes:
            if isinstance(outcome, Filled):
                assert outcome.venue_trade_id not in told_fills
                told_fills.add(outcome.venue_trade_id)
            elif isinstance(outcome, Stated):
                told_fills |= {f.venue_trade_id for f in outcome.fills}
        if ended is not None:
            assert order.stand is ended
        ended = order.stand if order.stand.is_terminal else None
        again, nothing = (order, ()) if isinstance(fact, str | Stated) else order.learn(fact, now=NOW)
        if not isinstance(fact, str | Stated | CancelRejected):
            assert (again, nothing) == (order, ())
    names = [f.venue_trade_id for f in order.fills]
    assert len(names) == len(set(names))
    assert set(names) == told_fills == heard_fills
    assert order.cumulative_quantity >= max((f.cumulative_quantity for f in order.fills), default=Decimal(0))


def test_an_order_state_with_very_many_fills_comes_after_all_of_them() -> None:
    """In one record or in several: whoever hears the end first would take the fills behind it for too many."""
    fills = tuple(fill(n, 1) for n in range(1, 2 * RECORD_FACTS + 2))
    state = Stated(NOW, Stand.CANCELED, Decimal(len(fills)), fills, "requested", "canceled on request")
    said = [message for _, _, message in messages([Told(KEY, state, "buy")])]
    records = [message for message in said if isinstance(message, execution.OrderReports)]
    assert records == said
    told = [report for record in records for report in record.reports]
    assert max(len(record.reports) for record in records) == RECORD_FACTS
    assert [type(report) for report in told] == [execution.OrderFilled] * len(fills) + [execution.OrderState]
    assert isinstance(told[-1], execution.OrderState)
    assert told[-1].fills == ()
