"""Decisions about venue orders: what is sent, what a venue's word changes, and what is told of it. Pure."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from .fills import SYNTHETIC, stand_ins, totals
from .twap import Twap
from .values import (
    CANCEL_AFTER,
    REQUESTED,
    Accepted,
    Amend,
    Ask,
    Cancel,
    Canceled,
    CancelRejected,
    Change,
    Corrected,
    Disowned,
    Expired,
    Filled,
    Leg,
    OrderKey,
    Outcome,
    Place,
    Refused,
    Rejected,
    Replaced,
    ReplaceRejected,
    Stand,
    Stated,
    Terms,
    Totals,
    Trigger,
    Triggered,
    VenueFact,
    Why,
)


class VenueOrder(Struct, frozen=True):
    key: OrderKey
    terms: Terms
    command_sequence: int
    stand: Stand
    market_at: datetime
    created_at: datetime
    updated_at: datetime
    cumulative_quantity: Decimal = Decimal(0)
    is_cancel_pending: bool = False
    code: str | None = None
    detail: str | None = None
    accepted_at: datetime | None = None
    ended_at: datetime | None = None
    triggered_at: datetime | None = None
    algo: Twap | None = None
    """Of an order that is worked in children; no venue sees it itself."""
    parent_ref: UUID | None = None
    """Of a child: the row of the order that it is a part of."""
    group_ref: UUID | None = None
    """Of all orders of a group: the row of the one that brought the others along."""
    leg: Leg | None = None
    trigger: Trigger | None = None
    """Of an order whose type its venue does not have; what its venue is sent has no trigger."""
    fills: tuple[Filled, ...] = ()

    def cancel(
        self,
        *,
        command_sequence: int,
        market_at: datetime,
        now: datetime,
        why: Why = REQUESTED,
        request: int | None = None,
    ) -> "Decision":
        """Asks the venue once; the one answer answers every cancel that came meanwhile."""
        if self.stand.is_terminal:
            return self, (self.too_late_to_cancel(market_at, request),)
        if self.is_watched:
            fact = Canceled(market_at, *why, self.cumulative_quantity)
            return self.end(Stand.CANCELED, fact.code, fact.detail, now=now), (fact,)
        if self.is_cancel_pending:
            return self, ()
        return replace(self, is_cancel_pending=True, updated_at=now), (Cancel(command_sequence, request),)

    def too_late_to_cancel(self, market_at: datetime, request: int | None) -> CancelRejected:
        """The answer to a cancel that comes after the end."""
        return CancelRejected(market_at, "too_late_to_cancel", f"the order has ended, was {self.stand}", request)

    @property
    def is_watched(self) -> bool:
        """It waits here for a price, and no venue has it yet."""
        return self.trigger is not None and self.triggered_at is None and not self.stand.is_terminal

    @property
    def is_held(self) -> bool:
        """No venue sees it: it is a leg, and its venue keeps no groups."""
        return self.leg is not None and self.leg.is_held

    @property
    def told_stand(self) -> Stand | None:
        """Of one that no venue sees, in answer to trading. While it is being cancelled nobody knows how that ends: an order
        that works, after it was cancelled, is one whose cancel was refused."""
        return None if self.is_cancel_pending else self.stand

    def end(self, stand: Stand, code: str, detail: str, *, now: datetime) -> "VenueOrder":
        """By us, of an order that no venue ends."""
        return replace(
            self, stand=stand, code=code, detail=detail, is_cancel_pending=False, ended_at=now, updated_at=now
        )

    def amend(
        self, change: Change, *, command_sequence: int, market_at: datetime, now: datetime
    ) -> tuple[Outcome, ...]:
        """Passes the wish to the venue, whose answers come in the order of the wishes."""
        refused = self._may_not_become(change, now)
        if refused is not None:
            return (ReplaceRejected(market_at, *refused, change.request),)
        if self.group_ref is not None:
            change = replace(change, quantity=None)
        return (Amend(command_sequence, change),)

    def _may_not_become(self, change: Change, now: datetime) -> Refused | None:
        if self.stand.is_terminal:
            return Refused("too_late_to_replace", f"the order has ended, was {self.stand}")
        if self.is_cancel_pending:
            return Refused("cancel_pending", "the order is being canceled")
        if change.send_by is not None and now > change.send_by:
            return refused("too_late")
        if self.trigger is not None and self.triggered_at is not None and change.stop_price is not None:
            return Refused("invalid_price", "the order has been triggered")
        whole = self.terms.quantity if self.leg is None else self.leg.declared
        if self.group_ref is not None and change.quantity not in (None, whole):
            return Refused("unsupported", "the quantity of an order in a group is not replaced")
        return None

    def query(self, *, command_sequence: int, market_at: datetime) -> tuple[Outcome, ...]:
        """What we know answers where it is the end; of an open order the venue knows more than we do."""
        if self.stand is Stand.REFUSED:
            return (Rejected(market_at, self.code or "", self.detail or ""),)
        if self.stand.is_terminal or self.is_watched:
            return (self._state(market_at),)
        return (Ask(command_sequence),)

    def learn(self, fact: VenueFact, *, now: datetime, may_grow: bool = False) -> "Decision":
        """Takes the venue's word. What was known, or comes after the end, changes and tells nothing; a fill always counts.

        `may_grow`: of a leg whose quantity can still rise, so that being filled is no end."""
        match fact:
            case Accepted():
                return self._accepted(fact, now)
            case Filled():
                order = self._filled((fact,), now, may_grow)
                return order, ((fact,) if order is not self else ())
            case Corrected():
                return self._corrected(fact, now)
            case Rejected() | Canceled() | Expired():
                return self._ended(fact, now)
            case CancelRejected():
                if self.is_cancel_pending:
                    return replace(self, is_cancel_pending=False, updated_at=now), (fact,)
                # One told again may have come before it; trading knows which wish it still waits for.
                return self, (() if fact.request is None or self.stand.is_terminal else (fact,))
            case Replaced():
                return self._replaced(fact, now, may_grow)
            case ReplaceRejected():
                # Which wish it answers is the venue's order of answers; trading knows what it still waits for.
                return self, (() if self.stand.is_terminal else (fact,))
            case Triggered():
                if self.triggered_at is not None:
                    return self, ()
                return replace(self._heard(now), triggered_at=now), (fact,)
            case Stated():
                return self._stated(fact, now, may_grow)

    def _accepted(self, fact: Accepted, now: datetime) -> "Decision":
        if self.stand is not Stand.SENT:
            return self, ()
        # Who waited here for a price has been told so before.
        return self._heard(now), ((fact,) if self.accepted_at is None else ())

    def _heard(self, now: datetime) -> "VenueOrder":
        """A word about a working order implies that it was accepted."""
        stand = Stand.WORKING if self.stand is Stand.SENT else self.stand
        return replace(self, stand=stand, accepted_at=self.accepted_at or now, updated_at=now)

    def _replaced(self, fact: Replaced, now: datetime, may_grow: bool) -> "Decision":
        """The terms are the venue's word; a total that is already filled ends the order.

        One of nothing is no filled order: it is a leg that nothing is left for, and its venue says how it ends."""
        if self.stand.is_terminal:
            return self, ()
        if self.trigger is not None:
            # Its venue knows of no stop.
            fact = replace(fact, stop_price=self.terms.conditions.stop_price)
        conditions = replace(self.terms.conditions, stop_price=fact.stop_price)
        terms = replace(self.terms, quantity=fact.quantity, limit_price=fact.limit_price, conditions=conditions)
        has_grown_up = not may_grow or fact.code == "parent_ended"
        is_full = has_grown_up and 0 < fact.quantity <= self.cumulative_quantity
        if terms == self.terms and self.stand is Stand.WORKING and not is_full:
            return self, (fact,)
        order = replace(self._heard(now), terms=terms)
        if is_full:
            order = replace(order, stand=Stand.FILLED, is_cancel_pending=False, ended_at=now)
        is_fill_missing = fact.cumulative_quantity > order.cumulative_quantity
        return order, ((fact, Ask(self.command_sequence)) if is_fill_missing else (fact,))

    @property
    def totals(self) -> Totals:
        """Of the fills we know."""
        return totals(self.fills)

    def _is_news(self, fill: Filled) -> bool:
        """A fill counts once: by its name, and not at all where we have stood in for it already."""
        before = fill.cumulative_quantity - fill.last_quantity
        return not any(
            known.venue_trade_id == fill.venue_trade_id
            or (
                known.venue_trade_id.startswith(SYNTHETIC)
                and known.cumulative_quantity - known.last_quantity <= before
                and fill.cumulative_quantity <= known.cumulative_quantity
            )
            for known in self.fills
        )

    def _filled(self, fills: tuple[Filled, ...], now: datetime, may_grow: bool) -> "VenueOrder":
        """With the fills that are news; a fill before the acceptance implies it, a full one ends an open order."""
        news = tuple(fill for fill in fills if self._is_news(fill))
        if not news:
            return self
        cumulative = max(self.cumulative_quantity, *(fill.cumulative_quantity for fill in news))
        order = replace(
            self,
            fills=self.fills + news,
            cumulative_quantity=cumulative,
            accepted_at=self.accepted_at or now,
            updated_at=now,
        )
        if order.stand.is_terminal:
            return order
        if cumulative >= self.terms.quantity and not may_grow:
            return replace(order, stand=Stand.FILLED, ended_at=now)
        return replace(order, stand=Stand.WORKING)

    def _corrected(self, fact: Corrected, now: datetime) -> "Decision":
        """What has ended stays ended. Of a fill that we have not heard of, the venue is asked."""
        fill = fact.fill
        known = next((one for one in self.fills if one.venue_trade_id == fill.venue_trade_id), None)
        if known is None:
            return self, (Ask(self.command_sequence),)
        if fill.revision <= known.revision:
            return self, ()
        order = replace(
            self,
            fills=tuple(fill if one is known else one for one in self.fills),
            cumulative_quantity=self.cumulative_quantity - known.last_quantity + fill.last_quantity,
            updated_at=now,
        )
        if not order.stand.is_terminal:
            order = replace(order, code=fact.code, detail=fact.detail)
        return order, (fact,)

    def _ended(self, fact: Rejected | Canceled | Expired, now: datetime) -> "Decision":
        if self.stand.is_terminal:
            return self, ()
        # What the venue counts is filled, whether or not we have heard of the fills.
        told = Decimal(0) if isinstance(fact, Rejected) else fact.cumulative_quantity
        counted = max(self.cumulative_quantity, told)
        order = replace(
            self,
            stand=_ENDS[type(fact)],
            cumulative_quantity=counted,
            code=None if isinstance(fact, Expired) else fact.code,
            detail=None if isinstance(fact, Expired) else fact.detail,
            is_cancel_pending=False,
            ended_at=now,
            updated_at=now,
        )
        is_fill_missing = told > self.cumulative_quantity
        return order, ((fact, Ask(self.command_sequence)) if is_fill_missing else (fact,))

    def _stated(self, fact: Stated, now: datetime, may_grow: bool) -> "Decision":
        if fact.stand is None and self.stand is Stand.SENT:
            # The question travelled behind the order: the venue will not see that order any more.
            detail = "the venue has never seen the order"
            return self._ended(Rejected(fact.market_at, "unknown_at_venue", detail), now)
        if fact.stand is None and self.stand is Stand.WORKING:
            return self, (Disowned(fact.market_at, "the venue denies an order that it had accepted"),)
        order = self._filled(fact.fills, now, may_grow)
        if fact.totals is not None:
            at, known = fact.market_at, order.fills
            missing = stand_ins(self.key.symbol, self.terms.side, known, fact.totals, market_at=at, now=now)
            order = order._filled(missing, now, may_grow)
        if fact.stand is not None and not order.stand.is_terminal:
            has_ended = fact.stand.is_terminal
            order = replace(
                order,
                stand=fact.stand,
                code=fact.code if has_ended else order.code,
                detail=fact.detail if has_ended else order.detail,
                accepted_at=order.accepted_at or now,
                ended_at=now if has_ended else None,
                # Cancel and question travel in order: an order that works after both was not cancelled, and the wish may
                # be said again. Where the question was the first, it is said twice and answered all the same.
                is_cancel_pending=False,
                updated_at=now,
            )
        return order, (order._state(fact.market_at),)

    def _state(self, market_at: datetime) -> Stated:
        return Stated(market_at, self.stand, self.cumulative_quantity, self.fills, self.code, self.detail)


def adopted(key: OrderKey, terms: Terms, stand: Stand, *, market_at: datetime, now: datetime) -> VenueOrder:
    """A venue's order that we did not send: an external fact, kept like our own from here on."""
    return VenueOrder(
        key,
        terms,
        0,
        stand,
        market_at,
        created_at=now,
        updated_at=now,
        code="adopted",
        detail="the venue has it, and we did not send it",
        accepted_at=now,
        ended_at=now if stand.is_terminal else None,
    )


Decision = tuple[VenueOrder, tuple[Outcome, ...]]


def submit(
    key: OrderKey, terms: Terms, *, command_sequence: int, market_at: datetime, now: datetime, refusal: Refused | None
) -> Decision:
    """The new venue order, placed, or refused: `too_late`, which nothing can change any more, or else as `refusal` says."""
    if terms.send_by is not None and now > terms.send_by:
        refusal = refused("too_late")
    order = VenueOrder(key, terms, command_sequence, Stand.SENT, market_at, created_at=now, updated_at=now)
    if refusal is None:
        return order, (Place(command_sequence, terms),)
    return order.end(Stand.REFUSED, *refusal, now=now), (Rejected(market_at, *refusal),)


def refused(code: str) -> Refused:
    return Refused(code, _REFUSALS[code])


def never_sent(market_at: datetime) -> Rejected:
    """The answer to a question about an order that was never sent, and to the order if it comes after that answer."""
    return Rejected(market_at, "never_sent", "the order was never sent to a venue and will not be")


_REFUSALS = {
    "too_late": "the time by which the order had to be sent has passed",
    "market_halted": "trading is halted",
    "venue_in_doubt": "what is open at the venue is being compared with what we know",
    "cancel_after": CANCEL_AFTER[1],
    "unknown_venue": "no venue of this name is configured",
}

_ENDS = {Rejected: Stand.REJECTED, Canceled: Stand.CANCELED, Expired: Stand.EXPIRED}
