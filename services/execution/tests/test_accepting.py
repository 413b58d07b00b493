"""What comparing with a venue could not mend, and an administrator settles by the venue's word."""

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from fleet_contracts import audit, execution, venue
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS
from fleet_contracts.trading import SubmitOrder
from fleet_contracts.vocabulary import OrderType, TimeInForce, VenueOrderStand, VenueStateWord
from fleet_execution.domain.accepting import NotAccepted, word_of
from fleet_execution.domain.reconciliation import Cause, Difference, Ending, Listing, Reconciliation
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

MARKET_AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
REF, ACCOUNT = UUID(int=1), UUID(int=2)
ASKED = Reconciliation(UUID(int=3), "paper", "BTC/USD", Cause.START, MARKET_AT, None)
BOOK = Listing(ASKED.query_id, "paper", "BTC/USD", MARKET_AT, (), False, (), False, None)
DENIED = Difference("not_open_there", REF, "", False)
SHORT = Difference("position", None, "", False, ACCOUNT, here=D(10), there=D(4))
UNHEARD = Difference("unknown_fill", REF, "", False, venue_trade_id="t1")


def _unresolved(*found: Difference) -> Reconciliation:
    last = ASKED
    while last.outcome is Ending.ASKED:
        last = last.noted(BOOK, found, now=MARKET_AT)
    return last


def test_the_word_is_about_what_the_last_attempt_found() -> None:
    """a position that differed at first and no more -> nothing of it is changed"""
    last = ASKED.noted(BOOK, [SHORT, DENIED], now=MARKET_AT)
    for _ in range(2):
        last = last.noted(BOOK, [DENIED], now=MARKET_AT)
    assert last.outcome is Ending.UNRESOLVED
    assert word_of(last, last) == ((REF,), (), ())


def test_two_fills_of_one_unknown_order_are_both_settled() -> None:
    last = _unresolved(UNHEARD, replace(UNHEARD, venue_trade_id="t2"))
    assert word_of(last, last).fills == ((REF, "t1"), (REF, "t2"))


@given(st.lists(st.sampled_from(["fill_differs", "totals", "ended_here_open_there", "terms"]), min_size=1))
def test_what_the_venue_must_mend_is_not_settled_and_keeps_the_rest_from_it(kinds: list[str]) -> None:
    last = _unresolved(DENIED, SHORT, *(Difference(kind, REF, "", False) for kind in kinds))
    with pytest.raises(NotAccepted) as refused:
        word_of(last, last)
    assert refused.value.code == "venue_must_mend"


def test_a_later_comparison_that_found_the_same_is_as_good_and_another_is_not() -> None:
    named = _unresolved(SHORT)
    assert word_of(named, replace(named, reconciliation_id=UUID(int=9))).positions == ((ACCOUNT, D(-6)),)
    clean = ASKED.noted(BOOK, [], now=MARKET_AT)
    for one, last in (
        (named, _unresolved(replace(SHORT, there=D(5)))),
        (named, clean),
        (named, None),
        (clean, clean),
        (named, named.accepted()),
    ):
        with pytest.raises(NotAccepted) as refused:
            word_of(one, last)
        assert refused.value.code == "not_unresolved"


# -- over Kafka ----------------------------------------------------------------------------------------------------


def _admin(service: Any, factor_age_s: int | None = 0) -> dict[str, str]:
    shown = {} if factor_age_s is None else {"mfa_at": int(service.clock.now().timestamp()) - factor_age_s}
    headers: dict[str, str] = service.keys.of_user("execution", ADMIN, "read", "admin", roles=["admin"], more=shown)
    return headers


ADMIN = uuid4()


async def _accept(service: Any, found: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    path = f"reconciliations/{found['reconciliation_id']}/accept"
    status, body = await service.post(path, headers or _admin(service), {"reason": "A test."})
    return status, body


async def _begin(service: Any, order: SubmitOrder, symbol: str) -> tuple[SubmitOrder, venue.PlaceVenueOrder]:
    """An order that rests at the venue since the first comparison; the next is a minute later, and has it."""
    await service.status(VenueStateWord.CONNECTED, LISTS_OPEN_ORDERS)
    await service.lists(symbol)
    await service.answer(await service.asked(symbol, 1))
    await service.compared(symbol)
    changed = {"order_type": OrderType.LIMIT, "limit_price": D(100), "protection_price": None}
    order = msgspec.structs.replace(order, symbol=symbol, time_in_force=TimeInForce.GTC, **changed)
    place = await service.placed(order)
    service.clock.advance(seconds=60)
    return order, place


async def _compared(service: Any, symbol: str, first: int, before: int, **answer: Any) -> Any:
    """The venue says the same three times, from this question on."""
    for number in range(first, first + 3):
        await service.answer(await service.asked(symbol, number), *answer.get("orders", ()), **_rest(answer))
    found = await service.compared(symbol, before)
    assert found["outcome"] == "unresolved", found
    return found


def _rest(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "orders"}


async def test_an_order_that_its_venue_has_forgotten_ends_and_the_symbol_is_open_again(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """4 of 10 filled, then denied -> unresolved -> accepted: canceled, the 4 stay; asked anew, and nothing is left"""
    service, symbol = execution_service, "MSFT/USD"
    order, place = await _begin(service, an_order, symbol)
    await service.report(service.filled(place, 4, 4), symbol=symbol)
    await service.some(lambda: service.told(order.account_id), 1)
    held = {order.account_id: 4}
    found = await _compared(service, symbol, 2, 1, positions=held)
    assert [d["kind"] for d in found["differences"]] == ["not_open_there"]
    assert await service.is_in_doubt(order, symbol)
    service.clock.advance(seconds=1)
    status, body = await _accept(service, found)
    assert (status, body["outcome"], [d["is_mended"] for d in body["differences"]]) == (200, "accepted", [True])
    told = await service.some(lambda: service.told(order.account_id), 2)
    assert isinstance(told[-1], execution.OrderCanceled)
    assert (told[-1].code, told[-1].cumulative_quantity) == ("not_at_venue", D(4))
    # Said twice, also while the venue has not answered: done once.
    assert (await _accept(service, found))[1] == body
    await service.answer(await service.asked(symbol, 5), positions=held)
    assert (await service.compared(symbol, 2))["outcome"] == "clean"
    assert not await service.is_in_doubt(order, symbol)
    assert await _accept(service, found) == (200, body)
    assert len(service.told(order.account_id)) == 2

    def acts() -> list[audit.AdminActed]:
        heard: list[audit.AdminActed] = service.peers.heard_of(audit.AdminActed)
        return [act for act in heard if found["reconciliation_id"] in act.target]

    (acted,) = await service.some(acts, 1)
    assert (acted.actor, acted.action, acted.reason) == (str(ADMIN), "differences.accepted", "A test.")
    assert f"not_open_there {place.venue_order_ref}" in {change.name for change in acted.changes}


async def test_what_accounts_hold_becomes_the_venues(execution_service: Any, an_order: SubmitOrder) -> None:
    """filled 10 here, 4 there, a stranger's 3; a fill of 2 more comes before it is accepted -> 6 and 3, clean"""
    service, symbol = execution_service, "IBM/USD"
    order, place = await _begin(service, msgspec.structs.replace(an_order, quantity=D(12)), symbol)
    await service.report(service.filled(place, 10, 10), symbol=symbol)
    await service.some(lambda: service.told(order.account_id), 1)
    stranger = uuid4()
    listed = [replace(one, cumulative_quantity=D(10)) for one in service.working(symbol)]
    found = await _compared(service, symbol, 2, 1, orders=listed, positions={order.account_id: 4, stranger: 3})
    assert {(d["account_id"], d["here"], d["there"]) for d in found["differences"]} == {
        (str(order.account_id), "10", "4"),
        (str(stranger), "0", "3"),
    }
    await service.report(service.filled(place, 2, 12), symbol=symbol)
    await service.some(lambda: service.told(order.account_id), 2)
    # A minute later it is another comparison, which has left the same.
    service.clock.advance(seconds=60)
    again = await _compared(service, symbol, 5, 2, positions={order.account_id: 6, stranger: 3})
    assert await _code(service, found) == (409, "not_unresolved"), "the figures are others now"
    service.clock.advance(seconds=60)
    await _compared(service, symbol, 8, 3, positions={order.account_id: 6, stranger: 3})
    service.clock.advance(seconds=1)
    assert (await _accept(service, again))[0] == 200, "the last has left the same"
    await service.answer(await service.asked(symbol, 11), positions={order.account_id: 6, stranger: 3})
    newest, *before = await service.comparisons(symbol, 5)
    assert (newest["outcome"], [r["outcome"] for r in before]) == (
        "clean",
        ["accepted", "accepted", "unresolved", "clean"],
    )
    assert not await service.is_in_doubt(order, symbol)


async def _code(service: Any, found: Any, headers: dict[str, str] | None = None) -> tuple[int, str]:
    status, body = await _accept(service, found, headers)
    return status, body["code"]


async def test_a_fill_of_an_order_not_known_here_is_not_found_again(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """listed each time -> unresolved -> accepted -> listed again, and another one -> only that is found"""
    service, symbol = execution_service, "GOOG/USD"
    order, place = await _begin(service, an_order, symbol)
    strange = msgspec.structs.replace(place, venue_order_ref=uuid4(), account_id=uuid4())
    fill = service.filled(strange, 3, 3)
    found = await _compared(service, symbol, 2, 1, orders=service.working(symbol), fills=(fill,))
    assert [d["venue_trade_id"] for d in found["differences"] if not d["is_mended"]] == [fill.venue_trade_id]
    service.clock.advance(seconds=1)
    assert (await _accept(service, found))[0] == 200
    await service.answer(await service.asked(symbol, 5), *service.working(symbol), fills=(fill,))
    assert (await service.compared(symbol, 2))["outcome"] == "clean"
    service.clock.advance(seconds=60)
    another = service.filled(strange, 2, 5)
    again = await _compared(service, symbol, 6, 3, orders=service.working(symbol), fills=(fill, another))
    assert [d["venue_trade_id"] for d in again["differences"]] == [another.venue_trade_id]
    assert order.account_id != strange.account_id


async def test_what_only_the_venue_can_mend_is_refused_with_what_to_do(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """it works what has ended here -> 409, and nothing is changed"""
    service, symbol = execution_service, "JPM/USD"
    _, place = await _begin(service, an_order, symbol)
    await service.report(service.canceled(place), symbol=symbol)
    await service.some(lambda: service.told(an_order.account_id), 1)
    found = await _compared(service, symbol, 2, 1, orders=service.working(symbol))
    status, body = await _accept(service, found)
    assert (status, body["code"]) == (409, "venue_must_mend")
    assert "cancel the order at the venue" in body["detail"]
    assert (await service.compared(symbol, 1))["outcome"] == "unresolved"


async def test_only_an_administrator_with_a_fresh_factor_may_and_only_what_is_there(
    execution_service: Any,
) -> None:
    service, nothing = execution_service, {"reconciliation_id": uuid4()}
    trader = service.keys.of_user("execution", uuid4(), "read", "trade")
    assert await _code(service, nothing, trader) == (403, "insufficient_scope")
    assert await _code(service, nothing, _admin(service, None)) == (403, "mfa_required")
    assert await _code(service, nothing, _admin(service, 301)) == (403, "mfa_required")
    assert await _code(service, nothing) == (404, "not_found")


async def test_comparisons_are_found_by_symbol_and_outcome(execution_service: Any, an_order: SubmitOrder) -> None:
    service, symbol = execution_service, "ETH/USD"
    _, place = await _begin(service, an_order, symbol)
    await service.report(
        venue.VenueOrderState(
            venue_order_ref=place.venue_order_ref,
            account_id=place.account_id,
            market_at=MARKET_AT,
            stand=VenueOrderStand.WORKING,
            cumulative_quantity=D(0),
            fills=(),
        ),
        symbol=symbol,
    )
    found = await _compared(service, symbol, 2, 1)
    admin = _admin(service)
    _, page = await service.get(f"reconciliations?symbol={symbol}&outcome=unresolved", admin)
    assert [r["reconciliation_id"] for r in page["data"]] == [found["reconciliation_id"]]
    _, page = await service.get(f"reconciliations?symbol={symbol}&outcome=clean", admin)
    assert [r["outcome"] for r in page["data"]] == ["clean"]
    status, _ = await service.get("reconciliations?outcome=settled", admin)
    assert status == 422
