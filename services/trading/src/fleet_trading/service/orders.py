"""Placing, replacing and cancelling: for the group committer a whole group at once, for signals one by one."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from uuid import UUID

from fleet_chassis.ids import Ids
from fleet_simulator import OrderType, Side, TimeInForce

from fleet_trading.domain import (
    Account,
    AccountStatus,
    CancelOrder,
    Conditions,
    Order,
    OrderDenied,
    OrderPlaced,
    PlaceOrder,
    Preview,
    Reason,
    ReplaceDenied,
    ReplaceOrder,
    Stand,
    Terms,
    Twap,
    User,
    decide,
    preview,
)
from fleet_trading.domain.risk.limits import LOOK_AT_OPEN_ORDERS, NO_LIMITS, KeyLimits, Values
from fleet_trading.ports import Market, UnitOfWork, account_key, claim_key, order_key

from .recording import carry_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """An order that is asked for. A client's has no `market_at`: it gets the market time last seen for its symbol."""

    account_id: UUID
    user_id: UUID
    client_order_id: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    time_in_force: TimeInForce
    venue: str | None = None
    deployment_id: UUID | None = None
    signal_id: UUID | None = None
    strategy_id: UUID | None = None
    market_at: datetime | None = None
    algo: Twap | None = None
    terms: Terms | None = None
    notional: Decimal | None = None
    """Instead of a quantity, which is 0 then."""
    key: KeyLimits | None = None
    """Of the API key it was signed with."""

    def body_hash(self) -> bytes:
        """Equal for equal bodies; the account is part of the key and not of the body."""
        body = f"{self.symbol} {self.side} {self.type} {self.quantity} {self.limit_price} {self.time_in_force} {self.venue}"
        if self.algo is not None:
            body += f" {self.algo}"
        if self.notional is not None:
            body += f" notional {self.notional}"
        if self.terms is not None:
            body += f" {self.terms.asked()}"
        return blake2b(body.encode(), digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Cancellation:
    account_id: UUID
    user_id: UUID
    order_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """What is None stays as it is. `expected_version`: only if no other change came before."""

    account_id: UUID
    user_id: UUID
    order_id: UUID
    quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    expected_version: int | None = None
    key: KeyLimits | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """`order` as it was first kept: only what never changes of it may be told. Its stand is DENIED or it was accepted."""

    order: Order
    is_replay: bool

    @property
    def denial(self) -> Reason | None:
        return self.order.reason if self.order.stand is Stand.DENIED else None


@dataclass(frozen=True, slots=True)
class Changing:
    """Its venue is asked to replace or cancel it. `order` is a copy: the account's own goes on changing."""

    order: Order


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing was changed: account_not_found, client_order_id_reused, order_path_slow, order_not_found, order_closed,
    version_conflict, replace_pending, cancel_pending. `is_denial`: a replace that a check of acceptance denies."""

    reason: Reason
    is_denial: bool = False


OrderCommand = Submission | Cancellation | Replacement
Outcome = Submitted | Changing | Refused

ACCOUNT_NOT_FOUND = Reason("account_not_found", "No such account.")
ORDER_NOT_FOUND = Reason("order_not_found", "No such order.")
ORDER_PATH_SLOW = Reason(
    "order_path_slow", "Orders do not reach execution fast enough; nothing was accepted, try again."
)


_NOBODYS = b""
"""The body hash of a leg's client_order_id, which no body has: it is used up, and stands for no request."""

_Seen = dict[tuple[str, str | None, UUID, datetime | None, UUID | None, Reason | None, KeyLimits | None], Conditions]


def touches(command: OrderCommand) -> list[str]:
    """What `decide_group` needs in memory."""
    if isinstance(command, Submission):
        return [account_key(command.account_id), claim_key(command.account_id, command.client_order_id)]
    return [account_key(command.account_id), order_key(command.account_id, command.order_id)]


class OrderDesk:
    """Places and cancels orders. `query_after`: without a report so long, execution is asked; None on a replay.

    While `is_path_slow`, no client's order is accepted; what was accepted before is answered all the same."""

    def __init__(
        self,
        *,
        market: Market,
        ids: Ids,
        protection_factor: Decimal,
        query_after: timedelta | None,
        is_path_slow: Callable[[], bool],
    ) -> None:
        self._market = market
        self._ids = ids
        self._protection_factor = protection_factor
        self._query_after = query_after
        self._is_path_slow = is_path_slow

    async def decide_group(self, uow: UnitOfWork, commands: Sequence[OrderCommand]) -> Iterator[Outcome]:
        """The outcome of each command, in order; each is judged after those before it, when its turn comes."""
        seen: _Seen = {}
        is_slow = self._is_path_slow()
        for command in commands:
            if not isinstance(command, Cancellation):
                await self.prepare(uow, command)
        return (
            self.submit(uow, c, seen, is_slow=is_slow)
            if isinstance(c, Submission)
            else self.cancel(uow, c)
            if isinstance(c, Cancellation)
            else self.replace(uow, c, is_slow=is_slow)
            for c in commands
        )

    async def prepare(self, uow: UnitOfWork, command: Submission | Replacement) -> None:
        """Brings into memory what the order is judged by: the limits that hold for it, and what covers already."""
        account = uow.account(command.account_id)
        if account is None or account.knows_open_orders:
            return
        if isinstance(command, Submission):
            limits = _limits(uow, account, command.symbol, command.strategy_id, command.key)
        else:
            order = account.orders.get(command.order_id)
            limits = NO_LIMITS if order is None else _limits(uow, account, order.symbol, order.strategy_id, command.key)
        if account.status is AccountStatus.REDUCE_ONLY or not LOOK_AT_OPEN_ORDERS.isdisjoint(limits):
            await uow.load_all_open(account)

    def submit(
        self,
        uow: UnitOfWork,
        submission: Submission,
        seen: _Seen,
        *,
        forbidden: Reason | None = None,
        is_slow: bool = False,
    ) -> Outcome:
        account = uow.account(submission.account_id)
        if account is None or account.user_id != submission.user_id:
            return Refused(ACCOUNT_NOT_FOUND)
        body_hash = submission.body_hash()
        claim = uow.claim(submission.account_id, submission.client_order_id)
        if claim is not None:
            if claim.body_hash != body_hash:
                detail = f"The client_order_id was used for another order, was {submission.client_order_id}."
                return Refused(Reason("client_order_id_reused", detail))
            return Submitted(claim.order, is_replay=True)
        if is_slow:
            return Refused(ORDER_PATH_SLOW)
        order = self._place(uow, account, submission, self._conditions(uow, submission, seen, forbidden))
        uow.add_claim(order, body_hash)
        return Submitted(order, is_replay=False)

    def preview(self, uow: UnitOfWork, submission: Submission) -> Preview | Refused:
        account = uow.account(submission.account_id)
        if account is None or account.user_id != submission.user_id:
            return Refused(ACCOUNT_NOT_FOUND)
        return preview(account, self._command(submission, self._conditions(uow, submission, {}, None)))

    def submit_signal(self, uow: UnitOfWork, submission: Submission, owner: User | None) -> Outcome:
        """A strategy's order: it acts with the rights that its owner has at this moment."""
        forbidden = None
        if owner is not None and not owner.may_trade:
            forbidden = Reason("insufficient_scope", "The owner of the strategy may not trade.")
        outcome = self.submit(uow, submission, {}, forbidden=forbidden)
        if isinstance(outcome, Refused) and outcome.reason is ACCOUNT_NOT_FOUND:
            stray = self._command(submission, self._conditions(uow, submission, {}, ACCOUNT_NOT_FOUND))
            (event,) = decide(_nobodys(submission, uow.now), stray)
            assert isinstance(event, OrderDenied)
            uow.add_stray(event.order)
        return outcome

    def cancel(self, uow: UnitOfWork, command: Cancellation) -> Outcome:
        account = uow.account(command.account_id)
        order = None if account is None else account.orders.get(command.order_id)
        if account is None or order is None or order.user_id != command.user_id:
            return Refused(ORDER_NOT_FOUND)
        if not order.is_open:
            return Refused(Reason("order_closed", f"The order cannot be canceled any more, was {order.status}."))
        query_at = None if self._query_after is None else uow.now + self._query_after
        if carry_out(uow, account, CancelOrder(order_id=order.order_id, now=uow.now, query_at=query_at)) and query_at:
            uow.watch(account, query_at)
        return Changing(copy.copy(order))

    def replace(self, uow: UnitOfWork, command: Replacement, *, is_slow: bool = False) -> Outcome:
        account = uow.account(command.account_id)
        order = None if account is None else account.orders.get(command.order_id)
        if account is None or order is None or order.user_id != command.user_id:
            return Refused(ORDER_NOT_FOUND)
        if is_slow:
            return Refused(ORDER_PATH_SLOW)
        conditions = self._look(
            uow, account.account_id, order.symbol, order.venue, strategy_id=order.strategy_id, key=command.key
        )
        events = carry_out(
            uow,
            account,
            ReplaceOrder(
                order_id=order.order_id,
                quantity=command.quantity,
                limit_price=command.limit_price,
                stop_price=command.stop_price,
                expected_version=command.expected_version,
                conditions=conditions,
            ),
        )
        for event in events:
            if isinstance(event, ReplaceDenied):
                return Refused(event.reason, is_denial=not event.is_conflict)
        if events and conditions.query_at is not None:
            uow.watch(account, conditions.query_at)
        return Changing(copy.copy(order))

    async def cancel_all(
        self, uow: UnitOfWork, account_id: UUID, user_id: UUID, *, symbol: str | None, limit: int
    ) -> list[Outcome] | Refused:
        """Up to `limit` of the account's open orders; those already being cancelled are passed over."""
        account = uow.account(account_id)
        if account is None or account.user_id != user_id:
            return Refused(ACCOUNT_NOT_FOUND)
        orders = await uow.load_open_orders(account, limit=limit, symbol=symbol)
        return [self.cancel(uow, Cancellation(account_id, user_id, order.order_id)) for order in orders]

    def _place(self, uow: UnitOfWork, account: Account, submission: Submission, conditions: Conditions) -> Order:
        (event,) = carry_out(uow, account, self._command(submission, conditions))
        assert isinstance(event, OrderPlaced | OrderDenied)
        if isinstance(event, OrderPlaced):
            for leg in event.legs:
                uow.add_claim(leg, _NOBODYS)
        if event.order.query_at is not None:
            uow.watch(account, event.order.query_at)
        return event.order

    def _conditions(self, uow: UnitOfWork, submission: Submission, seen: _Seen, forbidden: Reason | None) -> Conditions:
        """The same for all orders of a group that ask the same of the world, which stands still meanwhile."""
        s = submission
        key = (s.symbol, s.venue, s.account_id, s.market_at, s.strategy_id, forbidden, s.key)
        conditions = seen.get(key)
        if conditions is None:
            conditions = seen[key] = self._look(
                uow,
                s.account_id,
                s.symbol,
                s.venue,
                market_at=s.market_at,
                strategy_id=s.strategy_id,
                forbidden=forbidden,
                key=s.key,
            )
        return conditions

    def _look(
        self,
        uow: UnitOfWork,
        account_id: UUID,
        symbol: str,
        venue: str | None,
        *,
        market_at: datetime | None = None,
        strategy_id: UUID | None = None,
        forbidden: Reason | None = None,
        key: KeyLimits | None = None,
    ) -> Conditions:
        market = self._market
        account = uow.account(account_id)
        instrument = market.instrument(symbol)
        venue = venue or (instrument.venue if instrument is not None else "")
        return Conditions(
            now=uow.now,
            market_at=market_at or market.market_at(symbol),
            instrument=instrument,
            reference=market.reference(symbol),
            state=market.state(symbol, venue, account_id),
            protection_factor=self._protection_factor,
            query_at=None if self._query_after is None else uow.now + self._query_after,
            forbidden=forbidden,
            limits=NO_LIMITS if account is None else _limits(uow, account, symbol, strategy_id, key),
            marks=market,
            day=market.day(),
        )

    def _command(self, submission: Submission, conditions: Conditions) -> PlaceOrder:
        return PlaceOrder(
            order_id=self._ids.new_id(),
            client_order_id=submission.client_order_id,
            account_id=submission.account_id,
            user_id=submission.user_id,
            symbol=submission.symbol,
            side=submission.side,
            type=submission.type,
            quantity=submission.quantity,
            limit_price=submission.limit_price,
            time_in_force=submission.time_in_force,
            venue=submission.venue,
            deployment_id=submission.deployment_id,
            signal_id=submission.signal_id,
            strategy_id=submission.strategy_id,
            algo=submission.algo,
            conditions=conditions,
            terms=submission.terms,
            notional=submission.notional,
            leg_ids=tuple(self._ids.new_id() for _ in range(submission.terms.leg_count)) if submission.terms else (),
        )


def _limits(uow: UnitOfWork, account: Account, symbol: str, strategy_id: UUID | None, key: KeyLimits | None) -> Values:
    own = account.limits.values()
    if key is None:
        return uow.limits.of(account.roles, own, symbol=symbol, strategy_id=strategy_id)
    return uow.limits.of(
        account.roles, (*own, key.of(symbol)), symbol=symbol, strategy_id=strategy_id, api_key_id=key.api_key_id
    )


def _nobodys(submission: Submission, now: datetime) -> Account:
    """Stands in for an account that the order may not see."""
    return Account(
        account_id=submission.account_id,
        user_id=submission.user_id,
        name="",
        kind="",
        base_currency="",
        is_default=False,
        created_at=now,
    )
