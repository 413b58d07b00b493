"""The books of one partition of the internal venue, and the rules they are kept under. A pure function of its journal."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from fleet_simulator import OffGrid
from fleet_simulator.book import Book, Snapshot
from fleet_simulator.book import commands as c

from fleet_matching_engine.domain.book import BookState, SymbolBook
from fleet_matching_engine.domain.orders import (
    Cancel,
    CancelRejected,
    Effects,
    EndedOrder,
    OpenOrder,
    Place,
    Query,
    Rejected,
    Replace,
    ReplaceRejected,
    Stated,
)
from fleet_matching_engine.domain.rates import Rates
from fleet_matching_engine.domain.rules import HALTED, VENUE, MassCancel, Reference, Rules, State, Terms

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SIDES: Final = {"buy": c.Side.BUY, "sell": c.Side.SELL}
_TIMES_IN_FORCE: Final = {
    "gtc": c.TimeInForce.REST,
    "day": c.TimeInForce.REST,
    "gtd": c.TimeInForce.REST,
    "ioc": c.TimeInForce.IOC,
    "fok": c.TimeInForce.FOK,
}
_SELF_TRADES: Final = {word.name.lower(): word for word in c.SelfTrade}


class BookEngine(NamedTuple):
    """How a core book is made, and made again of a snapshot."""

    new: Callable[[], Book]
    restored: Callable[[Snapshot], Book]


class Refused(Exception):
    """The order, or its replacement, is not taken."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class _VenueState(msgspec.Struct, array_like=True):
    rules: Rules | None
    references: dict[str, Reference]
    states: list[State]
    accounts: list[bytes]
    rates: dict[int, int]
    orders: int
    books: list[BookState]
    ended: dict[bytes, EndedOrder]


class Venue:
    """Answers each command and fact with the effects in the books it touches: (symbol, effects)."""

    def __init__(self, engine: BookEngine) -> None:
        self.rules: Rules | None = None
        self.books: dict[str, SymbolBook] = {}
        self.references: dict[str, Reference] = {}
        self.states: dict[tuple[str, str | None], State] = {}
        self._engine = engine
        self._accounts: list[UUID] = []
        self._account_numbers: dict[UUID, int] = {}
        self._rates = Rates()
        self._orders = 0
        self._ended: dict[bytes, EndedOrder] = {}

    # Commands

    def place(self, command: Place, at: datetime, market_at: datetime) -> Effects:
        """Takes an order, once: told again, the venue answers where it stands."""
        known = self.books.get(command.symbol)
        if command.ref.bytes in self._ended or (known is not None and command.ref.bytes in known.numbers):
            return Effects([self._state_of(known, command.ref, command.account_id)], [], set())
        account = self._account(command.account_id)
        try:
            book, order, row = self._order_of(command, account, at)
        except Refused as refused:
            ended = EndedOrder(account, command.symbol, "rejected", refused.code, 0, [])
            self._remember(command.ref.bytes, ended)
            return Effects([Rejected(command.ref, command.account_id, refused.code)], [], set())
        effects = self._expired(book, at, market_at)
        self._orders += 1
        return _joined(effects, book.place(self._orders, order, row, at, market_at))

    def replace(self, command: Replace, at: datetime, market_at: datetime) -> Effects:
        book = self.books.get(command.symbol)
        effects = Effects.none() if book is None else self._expired(book, at, market_at)
        number = None if book is None else self._own(book, command.ref, command.account_id)
        if book is None or number is None:
            effects.reports.append(ReplaceRejected(command.ref, command.account_id, "unknown_order"))
            return effects
        order = book.orders[number]
        try:
            self._may_act(command, at)
            if command.conditions:
                raise Refused("unsupported")
            quantity = order.quantity if command.quantity is None else _lots(book, command.quantity)
            price = order.price if command.limit_price is None else _ticks(book, command.limit_price)
            self._fits(book, price, quantity)
        except Refused as refused:
            effects.reports.append(ReplaceRejected(command.ref, command.account_id, refused.code))
            return effects
        return _joined(effects, book.replace(number, price, quantity, at, market_at))

    def cancel(self, command: Cancel, at: datetime, market_at: datetime) -> Effects:
        """In every state of the venue and at any time: a late cancel is still wanted."""
        book = self.books.get(command.symbol)
        effects = Effects.none() if book is None else self._expired(book, at, market_at)
        number = None if book is None else self._own(book, command.ref, command.account_id)
        if book is None or number is None:
            effects.reports.append(CancelRejected(command.ref, command.account_id, "unknown_order"))
            return effects
        return _joined(effects, book.cancel(number, at, market_at))

    def query(self, command: Query) -> Effects:
        book = self.books.get(command.symbol)
        return Effects([self._state_of(book, ref, command.account_id) for ref in command.refs], [], set())

    # Facts

    def take_rules(self, rules: Rules) -> None:
        self.rules = rules
        self._forget_ended()

    def list(self, terms: Terms) -> None:
        """An instrument is traded here from now on, or on other terms.

        Its grid stays as long as orders rest on it: they are counted in its ticks and lots."""
        book = self.books.get(terms.symbol)
        if book is None:
            self.books[terms.symbol] = SymbolBook(terms, self._engine.new(), self._name_of, self._remember)
        elif self.can_list(terms):
            book.take_terms(terms)

    def can_list(self, terms: Terms) -> bool:
        book = self.books.get(terms.symbol)
        return book is None or (terms.tick, terms.lot) == (book.terms.tick, book.terms.lot) or not book.orders

    def refer(self, reference: Reference) -> None:
        self.references[reference.symbol] = reference

    def obey(self, state: State, at: datetime, market_at: datetime) -> Iterator[tuple[str, Effects]]:
        """A halt takes out what is open in its scope; nothing new is taken until it is lifted."""
        self.states[state.key] = state
        if state.word != HALTED:
            return
        symbol = state.target if state.scope == "symbol" else None
        account = UUID(state.target) if state.scope == "account" and state.target else None
        if state.scope in ("system", "symbol", "account") or state.target == VENUE:
            yield from self.cancel_all(symbol, account, "market_halted", at, market_at)

    def mass_cancel(self, told: MassCancel, at: datetime, market_at: datetime) -> Iterator[tuple[str, Effects]]:
        account = None if told.account_id is None else UUID(told.account_id)
        yield from self.cancel_all(told.symbol, account, "mass_cancel", at, market_at)

    def cancel_all(
        self, symbol: str | None, account_id: UUID | None, code: str, at: datetime, market_at: datetime
    ) -> Iterator[tuple[str, Effects]]:
        """In the order of arrival."""
        account = None if account_id is None else self._account_numbers.get(account_id, -1)
        for name, book in self.books.items():
            if symbol in (None, name):
                effects = Effects.none()
                for number in [n for n, order in book.orders.items() if account in (None, order.account)]:
                    effects = _joined(effects, book.cancel(number, at, market_at, code=code))
                yield name, effects

    def tick(self, at: datetime) -> Iterator[tuple[str, Effects]]:
        """It is now so late: orders come to their end."""
        for name, book in self.books.items():
            yield name, self._expired(book, at, at)

    def due_at(self) -> datetime | None:
        """When the next order comes to its end."""
        times = [ns for book in self.books.values() if (ns := book.expires_ns()) is not None]
        return _EPOCH + timedelta(microseconds=min(times) // 1000) if times else None

    # Whether it may

    def _order_of(self, command: Place, account: int, at: datetime) -> tuple[SymbolBook, OpenOrder, c.Row]:
        book = self.books.get(command.symbol)
        if book is None:
            raise Refused("unknown_symbol")
        self._may_act(command, at)
        if command.conditions or command.time_in_force not in _TIMES_IN_FORCE:
            raise Refused("unsupported")
        side = _SIDES[command.side]
        quantity = _lots(book, command.quantity)
        minimum = 0 if command.minimum_quantity is None else _lots(book, command.minimum_quantity)
        assert self.rules is not None
        flags = c.flags(
            _TIMES_IN_FORCE[command.time_in_force],
            post_only=command.post_only,
            self_trade=_SELF_TRADES[command.self_trade or self.rules.self_trade],
        )
        number, limit = self._orders + 1, 0
        if command.order_type == "market":
            price = self._protected(book, side, command.protection_price)
            row = c.market(number, account, side, quantity, protection_price=price, minimum=minimum, flags=flags)
            self._fits(book, price or book.price, quantity, is_banded=False)
        elif command.order_type == "limit" and command.limit_price is not None:
            limit = price = _ticks(book, command.limit_price)
            row = c.add(number, account, side, price, quantity, minimum=minimum, flags=flags)
            self._fits(book, price, quantity)
        else:
            raise Refused("unsupported")
        expires_ns = _expires_ns(command, at)
        return book, OpenOrder(command.ref.bytes, account, int(side), quantity, limit, expires_ns), row

    def _may_act(self, command: Place | Replace, at: datetime) -> None:
        """The last gate: in time, not halted, and not too many."""
        if self.rules is None:
            raise Refused("market_halted")  # its rules come with the first fact
        if command.send_by is not None and at > command.send_by:
            raise Refused("too_late")
        keys = (("system", None), ("venue", VENUE), ("symbol", command.symbol), ("account", str(command.account_id)))
        if any((state := self.states.get(key)) is not None and state.word == HALTED for key in keys):
            raise Refused("market_halted")
        if not self._rates.is_free(self._account(command.account_id), _ns(at), self.rules.rate):
            raise Refused("rate_limited")

    def _fits(self, book: SymbolBook, price: int, quantity: int, *, is_banded: bool = True) -> None:
        assert self.rules is not None
        terms = book.terms
        notional = book.scale.price(price) * book.scale.quantity(quantity)
        if book.scale.quantity(quantity) < terms.min_quantity:
            raise Refused("min_quantity")
        if price and notional < terms.min_notional:
            raise Refused("min_notional")
        if notional > self.rules.max_notional:
            raise Refused("max_order_notional")
        band = self._band(book)
        if is_banded and band is not None and not band[0] <= price <= band[1]:
            raise Refused("price_band")

    def _band(self, book: SymbolBook) -> tuple[int, int] | None:
        """The lowest and highest price in ticks; None as long as there is no reference."""
        reference = self.references.get(book.terms.symbol)
        if reference is None or self.rules is None:
            return None
        tick = book.terms.tick
        low = (reference.price * (1 - self.rules.band) / tick).to_integral_value(ROUND_CEILING)
        high = (reference.price * (1 + self.rules.band) / tick).to_integral_value(ROUND_FLOOR)
        return max(int(low), 1), int(high)

    def _protected(self, book: SymbolBook, side: int, protection: Decimal | None) -> int:
        """How far a market order may go: its own protection, and never out of the band."""
        own = c.NO_PROTECTION if protection is None else _ticks(book, protection)
        band = self._band(book)
        if band is None:
            return own
        edge = band[1] if side == c.Side.BUY else band[0]
        if own == c.NO_PROTECTION:
            return edge
        return min(own, edge) if side == c.Side.BUY else max(own, edge)

    # What is known

    def _expired(self, book: SymbolBook, at: datetime, market_at: datetime) -> Effects:
        return book.expire(_ns(at), at, market_at)

    def _own(self, book: SymbolBook, ref: UUID, account_id: UUID) -> int | None:
        """The number of the open order, if it is this account's."""
        number = book.numbers.get(ref.bytes)
        if number is None or self._accounts[book.orders[number].account] != account_id:
            return None
        return number

    def _state_of(self, book: SymbolBook | None, ref: UUID, account_id: UUID) -> Stated:
        number = None if book is None else self._own(book, ref, account_id)
        if book is not None and number is not None:
            order = book.orders[number]
            return Stated(ref, account_id, "working", None, order.filled, tuple(order.fills))
        ended = self._ended.get(ref.bytes)
        if ended is None or self._accounts[ended.account] != account_id:
            return Stated(ref, account_id, "unknown", None, 0, ())
        return Stated(ref, account_id, ended.stand, ended.code, ended.cumulative, tuple(ended.fills))

    def _remember(self, ref: bytes, ended: EndedOrder) -> None:
        self._ended[ref] = ended
        self._forget_ended()

    def _forget_ended(self) -> None:
        kept = self.rules.ended_kept if self.rules is not None else 1
        while len(self._ended) > kept:
            del self._ended[next(iter(self._ended))]

    def _account(self, account_id: UUID) -> int:
        number = self._account_numbers.get(account_id)
        if number is None:
            number = self._account_numbers[account_id] = len(self._accounts)
            self._accounts.append(account_id)
        return number

    def _name_of(self, account: int) -> UUID:
        return self._accounts[account]

    # Snapshots

    def snapshot(self) -> bytes:
        state = _VenueState(
            self.rules,
            self.references,
            list(self.states.values()),
            [account.bytes for account in self._accounts],
            self._rates.times,
            self._orders,
            [book.state() for book in self.books.values()],
            self._ended,
        )
        return msgspec.msgpack.encode(state)

    def restore(self, content: bytes) -> None:
        state = msgspec.msgpack.decode(content, type=_VenueState)
        self.rules, self.references, self._orders = state.rules, state.references, state.orders
        self.states = {one.key: one for one in state.states}
        self._accounts = [UUID(bytes=account) for account in state.accounts]
        self._account_numbers = {account: number for number, account in enumerate(self._accounts)}
        self._rates = Rates(state.rates)
        self._ended = state.ended
        for one in state.books:
            self.list(one.terms)
            self.books[one.terms.symbol].restore(one, self._engine.restored)


def _joined(first: Effects, second: Effects) -> Effects:
    if not (first.reports or first.touched):
        return second
    first.reports += second.reports
    first.prints += second.prints
    first.touched |= second.touched
    return first


def _lots(book: SymbolBook, quantity: Decimal) -> int:
    try:
        lots = book.scale.lots(quantity)
    except OffGrid:
        lots = 0
    if not 0 < lots <= c.MAX_QUANTITY:
        raise Refused("invalid_quantity")
    return lots


def _ticks(book: SymbolBook, price: Decimal) -> int:
    try:
        ticks = book.scale.ticks(price)
    except OffGrid:
        ticks = 0
    if not 0 < ticks <= c.MAX_PRICE:
        raise Refused("invalid_price")
    return ticks


def _expires_ns(command: Place, at: datetime) -> int:
    """0: never. The venue is open round the clock, so a day ends with the UTC day."""
    if command.time_in_force == "day":
        midnight = (at + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return _ns(midnight)
    if command.time_in_force != "gtd":
        return 0
    if command.expires_at is None:
        raise Refused("invalid_conditions")
    if command.expires_at <= at:
        raise Refused("already_expired")
    return _ns(command.expires_at)


def _ns(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
