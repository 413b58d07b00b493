"""Whether an order is taken: the venue's own rules, before the simulator's. Onto the grid, in time, in its limits."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

from fleet_simulator import OffGrid, Order, OrderType, Scale, SelfTrade, Side, trail_ppm
from fleet_simulator import Place as Placed
from fleet_simulator import Replace as Changed
from fleet_simulator.book.commands import MAX_PRICE, MAX_QUANTITY

from fleet_matching_engine.domain.book import SymbolBook
from fleet_matching_engine.domain.orders import Moment, Place, Replace
from fleet_matching_engine.domain.rates import Rates
from fleet_matching_engine.domain.rules import ALONE, HALTED, REDUCING, VENUE, Reference, Rules, State

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Refused(Exception):
    """The order, or its replacement, is not taken."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Admission:
    """What the venue holds to, as its journal has told it."""

    def __init__(self) -> None:
        self.rules: Rules | None = None
        self.references: dict[str, Reference] = {}
        self.states: dict[tuple[str, str | None], State] = {}
        self.cutoffs: dict[str, datetime] = {}
        self.rates = Rates()

    def placed(self, command: Place, book: SymbolBook, when: Moment) -> Placed:
        """The order in the simulator's words."""
        increases = command.side is Side.BUY and not command.reduce_only
        rules = self._may_act(command, book, when, increases=increases)
        cutoff = self.cutoffs.get(command.account_id)
        if cutoff is not None and command.said_at is not None and command.said_at <= cutoff:
            raise Refused("cancel_after")
        if not (book.is_open or (command.time_in_force.is_auction and command.parent_ref is None)):
            raise Refused("market_closed")
        if command.expires_at is not None and ns_of(command.expires_at) <= when.ns:
            raise Refused("already_expired")
        scale, stop, limit = book.scale, command.stop_price, command.limit_price
        placed = Placed(
            order_ref=command.ref,
            account_id=command.account_id,
            command_sequence=0,
            side=command.side,
            type=command.order_type,
            quantity=lots(scale, command.quantity),
            time_in_force=command.time_in_force,
            limit_price=_ticks(scale, limit),
            protection_price=_ticks(scale, command.protection_price),
            stop_price=_ticks(scale, stop),
            trail_amount=_ticks(scale, command.trail_amount),
            trail_ppm=_ppm(command.trail_percent),
            display_quantity=None if command.display_quantity is None else lots(scale, command.display_quantity),
            minimum_quantity=0 if command.minimum_quantity is None else lots(scale, command.minimum_quantity),
            expires_at=None if command.expires_at is None else ns_of(command.expires_at),
            post_only=command.post_only,
            reduce_only=command.reduce_only,
            self_trade=command.self_trade or SelfTrade(rules.self_trade),
            oco_group=command.oco_group,
            parent_ref=command.parent_ref,
        )
        band = self._band(book, placed.stop_price) if placed.type is not OrderType.TRAILING_STOP else None
        if not placed.type.has_limit:
            placed = _protected(placed, band)
        price = placed.limit_price or placed.protection_price or placed.stop_price or book.measure(placed.side)
        self._fits(rules, book, price, placed.quantity)
        _in_band(placed.limit_price, band)
        return placed

    def changed(self, command: Replace, book: SymbolBook, order: Order | None, when: Moment) -> Changed:
        increases = order is not None and order.side is Side.BUY and not order.reduce_only
        rules = self._may_act(command, book, when, increases=increases)
        if not book.is_open:
            raise Refused("market_closed")
        changed = Changed(
            order_ref=command.ref,
            account_id=command.account_id,
            command_sequence=0,
            quantity=None if command.quantity is None else lots(book.scale, command.quantity),
            limit_price=_ticks(book.scale, command.limit_price),
            stop_price=_ticks(book.scale, command.stop_price),
        )
        if order is not None:
            price = changed.limit_price or order.limit_price or order.protection_price or order.stop_price
            self._fits(rules, book, price or book.measure(order.side), changed.quantity or order.quantity)
            waits_at = None if order.elected else changed.stop_price or order.stop_price
            _in_band(changed.limit_price or order.limit_price, self._band(book, waits_at))
        return changed

    def _may_act(self, command: Place | Replace, book: SymbolBook, when: Moment, *, increases: bool) -> Rules:
        """The last gate: in time, not halted, and not too many."""
        rules = self.rules
        if rules is None:
            raise Refused("market_halted")  # its rules come with the first fact
        if command.send_by is not None and when.at > command.send_by:
            raise Refused("too_late")
        words = words_of(self.states, book.terms.symbol, command.account_id)
        if HALTED in words:
            raise Refused("market_halted")
        if increases and REDUCING in words:
            raise Refused("market_reducing")
        # On a replay the journal's times tell how fast the machine is, by which nothing may be decided.
        if not (rules.is_replay or self.rates.is_free(command.account_id, ns_of(when.at), rules.rate)):
            raise Refused("rate_limited")
        return rules

    def _fits(self, rules: Rules, book: SymbolBook, price: int, quantity: int) -> None:
        terms, scale = book.terms, book.scale
        notional = scale.price(price) * scale.quantity(quantity)
        if scale.quantity(quantity) < terms.min_quantity:
            raise Refused("min_quantity")
        if not price:
            raise Refused("no_reference")  # it could be of any size
        if notional < terms.min_notional:
            raise Refused("min_notional")
        if notional > rules.max_notional:
            raise Refused("max_order_notional")

    def _band(self, book: SymbolBook, stop_price: int | None) -> tuple[int, int] | None:
        """The lowest and highest price in ticks; None as long as there is no reference.

        Round the reference price, or round the price that an order waits for."""
        rules, reference = self.rules, self.references.get(book.terms.symbol)
        if reference is None or rules is None:
            return None
        ticks = reference.price / book.terms.tick if stop_price is None else Decimal(stop_price)
        low = (ticks * (1 - rules.band)).to_integral_value(ROUND_CEILING)
        high = (ticks * (1 + rules.band)).to_integral_value(ROUND_FLOOR)
        return max(int(low), 1), int(high)


def words_of(states: Mapping[tuple[str, str | None], State], symbol: str, account_id: str) -> set[str]:
    keys = (("system", None), ALONE, ("venue", VENUE), ("symbol", symbol), ("account", account_id))
    return {state.word for key in keys if (state := states.get(key)) is not None}


def _protected(placed: Placed, band: tuple[int, int] | None) -> Placed:
    """An order without limit goes as far as its own protection, and never out of the band."""
    own = placed.protection_price
    if band is None:
        return placed
    edge = band[1] if placed.side is Side.BUY else band[0]
    nearest = edge if own is None else min(own, edge) if placed.side is Side.BUY else max(own, edge)
    return replace(placed, protection_price=nearest)


def _in_band(price: int | None, band: tuple[int, int] | None) -> None:
    if price is not None and band is not None and not band[0] <= price <= band[1]:
        raise Refused("price_band")


def lots(scale: Scale, quantity: Decimal) -> int:
    try:
        found = scale.lots(quantity)
    except OffGrid:
        found = 0
    if not 0 < found <= MAX_QUANTITY:
        raise Refused("invalid_quantity")
    return found


def _ticks(scale: Scale, price: Decimal | None) -> int | None:
    if price is None:
        return None
    try:
        found = scale.ticks(price)
    except OffGrid:
        found = 0
    if not 0 < found <= MAX_PRICE:
        raise Refused("invalid_price")
    return found


def _ppm(percent: Decimal | None) -> int | None:
    try:
        return None if percent is None else trail_ppm(percent)
    except OffGrid:
        raise Refused("invalid_price") from None


def ns_of(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
