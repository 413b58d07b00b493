"""The state machine of an order: its two tables, a short reference model, and the events that clients are shown."""

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any
from uuid import UUID

import pytest
from account_commands import NOW, a_fill, an_account, an_order, conditions, done
from fleet_contracts import execution
from fleet_trading.domain import (
    TERMINAL,
    CancelOrder,
    Pending,
    Reason,
    ReplaceOrder,
    ReportAccept,
    ReportCancel,
    ReportCancelReject,
    ReportExpiry,
    ReportReject,
    ReportReplace,
    ReportReplaceReject,
    ReportUnknown,
    Stand,
    Step,
)
from fleet_trading.domain.states import PENDING, STANDS, after
from hypothesis import given, settings
from hypothesis import strategies as st

ID = UUID(int=10)
WHY = Reason("said", "")


@pytest.mark.parametrize("step", Step)
def test_every_step_is_in_the_tables_and_nothing_that_has_ended_opens_again(step: Step) -> None:
    assert step in STANDS
    for stand in Stand:
        for pending in Pending:
            ended, left = after(step, stand, Pending.NONE if stand in TERMINAL else pending, Pending.NONE)
            assert stand not in TERMINAL or ended in TERMINAL
            assert ended not in TERMINAL or left is Pending.NONE
    is_end = {STANDS[step][0], STANDS[step][1]} <= TERMINAL
    assert is_end or step in PENDING


class Reference:
    """What an order of 10 is after any reports: flags, set in the order of what is heard, and one word made of them."""

    def __init__(self) -> None:
        self.ended: str | None = None
        self.is_accepted = self.is_canceling = self.is_replacing = False
        self.filled = 0

    @property
    def word(self) -> str:
        if self.ended:
            return self.ended
        if self.is_canceling or self.is_replacing:
            return "pending_cancel" if self.is_canceling else "pending_replace"
        return "pending_new" if not self.is_accepted else "partially_filled" if self.filled else "new"

    def hear(self, what: str) -> None:
        if what == "fill":
            self.filled += 4
            if self.filled >= 10:
                self.ended = "filled"
        if self.ended:
            return
        match what:
            case "cancel":
                self.is_canceling = True
            case "replace":
                self.is_replacing = self.is_replacing or not self.is_canceling
            case "cancel_refused" if self.is_canceling:
                self.is_canceling, self.is_accepted = False, True
            case "replace_refused":
                self.is_replacing = False
            case "replaced":
                self.is_accepted = self.is_accepted or self.is_replacing
                self.is_replacing = False
            case "accept" | "fill":
                self.is_accepted = True
            case "canceled" | "expired" | "rejected":
                self.ended = what


def _command(what: str, at: int, limit: D) -> Any:
    match what:
        case "fill":
            return a_fill(10, 100 + at, 4, 50)
        case "replace":
            fields = {"quantity": None, "stop_price": None, "expected_version": None, "conditions": conditions()}
            return ReplaceOrder(order_id=ID, limit_price=limit + 1, **fields)  # type: ignore[arg-type]
        case "replaced":
            return ReportReplace(
                order_id=ID,
                quantity=D(10),
                limit_price=limit + 1,
                stop_price=None,
                cumulative_quantity=D(0),
                code="requested",
                market_at=NOW,
                now=NOW,
            )
        case "expired":
            return ReportExpiry(order_id=ID, cumulative_quantity=D(0), now=NOW)
        case "canceled":
            return ReportCancel(order_id=ID, reason=WHY, cumulative_quantity=D(0), now=NOW)
        case "accept":
            return ReportAccept(order_id=ID, now=NOW)
        case "cancel":
            return CancelOrder(order_id=ID, now=NOW)
        case "unknown":
            return ReportUnknown(order_id=ID, detail="", now=NOW)
        case "replace_refused":
            return ReportReplaceReject(order_id=ID, reason=WHY, market_at=NOW, now=NOW)
    kinds = {"cancel_refused": ReportCancelReject, "rejected": ReportReject}
    return kinds[what](order_id=ID, reason=WHY, now=NOW)


MIDDLE = ["accept", "cancel", "cancel_refused", "replace", "replace_refused", "replaced", "unknown"]
HEARD = [*MIDDLE, "fill", "canceled", "expired", "rejected"]


@given(st.lists(st.sampled_from(MIDDLE), min_size=4, max_size=12), st.lists(st.sampled_from(HEARD), max_size=6))
@settings(max_examples=300)
def test_an_order_is_what_the_reference_says_whatever_is_heard_in_whatever_order(
    first: list[str], then: list[str]
) -> None:
    account, reference = an_account(), Reference()
    done(account, an_order(limit=60))
    order = account.orders[ID]
    for at, what in enumerate((*first, *then)):
        limit = order.limit_price
        assert limit is not None
        if what == "replaced" and not reference.is_replacing:
            continue  # A venue that changes it unasked: its price, not its state.
        before = order.version
        done(account, _command(what, at, limit))
        reference.hear(what)
        assert order.status == reference.word
        assert order.filled_quantity == reference.filled
        assert (order.reserved > 0) is order.is_open
        told = [t for t in account.changes.transitions.get(ID, []) if t.version > before]
        assert bool(told) is (order.version > before), "every change is a step, and every step is told"
        assert not told or told[-1].status == order.status


async def test_an_order_tells_what_has_happened_to_it_and_why(fleet: Any) -> None:
    user = fleet.a_user()
    order = await fleet.accepted(user, type="limit", limit_price="90")
    order_id = UUID(order["order_id"])
    path = f"/api/v1/orders/{order_id}"
    market_at = fleet.clock.now()
    await fleet.call("PATCH", path, {"limit_price": "91"}, user=user)
    await fleet.report(
        user,
        execution.OrderAccepted(order_id=order_id, market_at=market_at, venue="paper"),
        execution.OrderReplaceRejected(order_id=order_id, market_at=market_at, code="too_late", detail="No."),
        fleet.filled(order, 4, 90),
    )
    await fleet.becomes(order, user, "partially_filled")
    await fleet.call("DELETE", path, user=user)
    canceled = execution.OrderCanceled(
        order_id=order_id, market_at=market_at, code="requested", detail="", cumulative_quantity=D(4)
    )
    await fleet.report(user, canceled, fleet.filled(order, 1, 90, cumulative=5))
    await fleet.becomes(order, user, "canceled")
    reply = await fleet.call("GET", path + "/events", user=user)
    assert [(e["event"], e["status"], e.get("reason", {}).get("code")) for e in reply.body["data"]] == [
        ("placed", "pending_new", None),
        ("replace_requested", "pending_replace", "requested"),
        ("accepted", "pending_replace", None),
        ("replace_refused", "new", "too_late"),
        ("partially_filled", "partially_filled", None),
        ("cancel_requested", "pending_cancel", None),
        ("canceled", "canceled", "requested"),
        ("partially_filled", "canceled", None),
    ]
    assert [e["version"] for e in reply.body["data"]] == list(range(1, 9))
    assert (await fleet.call("GET", path + "/events", user=fleet.a_user())).status == 404
    assert (await fleet.order(user, quantity="1000000", client_order_id="too-much")).status == 422
    (told,) = await fleet.orders(user, client_order_id="too-much")
    (event,) = (await fleet.call("GET", f"/api/v1/orders/{told['order_id']}/events", user=user)).body["data"]
    assert (event["event"], event["reason"]["code"]) == ("denied", "account_reduce_only")


async def test_orders_are_found_by_when_they_were_placed(fleet: Any) -> None:
    user = fleet.a_user()
    _, second = [await fleet.accepted(user, client_order_id=name) for name in ("first", "second")]
    # Ids begin with their time, in milliseconds.
    at = datetime.fromtimestamp((UUID(second["order_id"]).int >> 80) / 1000, UTC).isoformat().replace("+00:00", "Z")

    async def found(**query: str) -> list[str]:
        return [order["client_order_id"] for order in await fleet.orders(user, **query)]

    assert await found(start=at) == ["second"]
    assert await found(end=at) == ["first"]
    assert await found(start=at, end=at) == []
    # Before there were ids of UUID v7: not a failure.
    assert await found(start="0190-07-20T13:26:11Z") == ["second", "first"]
    assert await found(client_order_id="first", end="0001-01-01T00:00:00Z") == []
    assert await found(client_order_id="first", start=at) == []
    assert await found(client_order_id="first", end=at, symbol="AAPL-USD") == ["first"]
    assert (await fleet.call("GET", "/api/v1/orders?start=2026-01-05T00:00:00", user=user)).status == 422
