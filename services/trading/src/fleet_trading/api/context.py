"""What the routes work with, and whose account a request is about."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request
from fleet_bus import Bus, GroupCommitter, Transaction
from fleet_chassis.assertions import Caller
from fleet_chassis.permissions import ReadCaller
from fleet_chassis.problems import Problem
from fleet_gate import Gates

from fleet_trading.domain import Order, Reason, User
from fleet_trading.domain.risk.limits import KeyLimits
from fleet_trading.ports import Market
from fleet_trading.service.accounts import default_account_id, open_default_account
from fleet_trading.service.orders import ACCOUNT_NOT_FOUND, ORDER_NOT_FOUND, OrderCommand, OrderDesk, Outcome, touches
from fleet_trading.settings import Settings
from fleet_trading.store import AccountCache, PostgresUnit, Readings
from fleet_trading.store.limits import SharedLimits
from fleet_trading.store.unit import Announcing

MOST_KNOWN = 100_000
"""Owners of accounts that are remembered, about 200 bytes each; ownership never changes."""

_STATUS = {"account_not_found": 404, "order_not_found": 404, "grant_not_found": 404, "session_required": 403}


def problem_of(reason: Reason) -> Problem:
    """A refusal: what is not there, or not the caller's, is 404, what takes a login 403, and what is there in another state
    409."""
    return Problem(_STATUS.get(reason.code, 409), reason.code, reason.detail)


class Trading:
    """The parts of the service, put together in app.py."""

    def __init__(
        self,
        *,
        settings: Settings,
        bus: Bus,
        market: Market,
        announcer: Announcing,
        desk: OrderDesk,
        readings: Readings,
        cache: AccountCache,
        limits: SharedLimits,
        last_gates: Gates,
    ) -> None:
        self.settings = settings
        self.bus = bus
        self.market = market
        self.desk = desk
        self.readings = readings
        self.last_gates = last_gates
        self._announcer = announcer
        self._cache = cache
        self._limits = limits
        self._knows_the_market = False
        self._defaults: dict[UUID, UUID] = {}
        """User to default account, of those that are open."""
        self._owners: dict[UUID, UUID] = {}
        self.committer: GroupCommitter[OrderCommand, Outcome] = bus.group_committer(
            unit_of_work=self.unit,
            touches=touches,
            decide=desk.decide_group,
            most_waiting=settings.trading_most_waiting,
        )

    def unit(self, tx: Transaction) -> PostgresUnit:
        return PostgresUnit(tx, cache=self._cache, announcer=self._announcer, limits=self._limits, market=self.market)

    @property
    def knows_the_market(self) -> bool:
        """False until the tables have been read once: till then every symbol is unknown, and no denial would be true."""
        if not self._knows_the_market:
            self._knows_the_market = self.bus.ready() is None
        return self._knows_the_market

    async def account_of(self, caller: Caller, account_id: UUID | None) -> UUID:
        """The account named, if it is the caller's, or his default account, opened if need be; else Problem 404."""
        if account_id is None:
            default_id = self._defaults.get(caller.user_id)
            if default_id is None:
                default_id = default_account_id(caller.user_id)
                await self._open_default(default_id, caller)
                _remember(self._defaults, caller.user_id, default_id)
            return default_id
        owner = self._owners.get(account_id)
        if owner is None:
            if account_id == default_account_id(caller.user_id):
                return await self.account_of(caller, None)
            owner = await self.readings.owner_of(account_id)
            if owner is not None:
                _remember(self._owners, account_id, owner)
        if owner != caller.user_id:
            raise problem_of(ACCOUNT_NOT_FOUND)
        return account_id

    async def _open_default(self, account_id: UUID, caller: Caller) -> None:
        """In a transaction of its own, before the request's."""
        if await self.readings.owner_of(account_id) is not None:
            return
        user = User(caller.user_id, tuple(sorted(caller.roles)), "active", 0)
        async with self.bus.transaction() as tx:
            uow = self.unit(tx)
            await open_default_account(uow, user, deposit=self.settings.trading_opening_deposit, market=self.market)
            await uow.flush()


def _remember(known: dict[UUID, UUID], key: UUID, value: UUID) -> None:
    if len(known) >= MOST_KNOWN:
        del known[next(iter(known))]
    known[key] = value


def key_of(caller: Caller) -> KeyLimits | None:
    """What the API key may do that the request was signed with, as the gateway asserts it."""
    api_key_id = caller.claims.get("api_key_id")
    return None if api_key_id is None else KeyLimits(UUID(str(api_key_id)), caller.symbols, caller.max_order_notional)


def trading_of(request: Request) -> Trading:
    found: Trading = request.app.state.trading
    return found


Service = Annotated[Trading, Depends(trading_of)]


async def _read_account(
    caller: ReadCaller,
    trading: Service,
    account_id: Annotated[UUID | None, Query(description="The default account if it is left out.")] = None,
) -> UUID:
    return await trading.account_of(caller, account_id)


ReadAccount = Annotated[UUID, Depends(_read_account)]
"""The account a GET is about."""


async def own_order(trading: Trading, caller: Caller, order_id: str) -> Order:
    """The caller's own; another's is as good as none."""
    return own(caller, await trading.readings.order(order_id_of(order_id)))


def order_id_of(text: str) -> UUID:
    """Ids are opaque: what is none names no order."""
    try:
        return UUID(text)
    except ValueError as error:
        raise problem_of(ORDER_NOT_FOUND) from error


def own(caller: Caller, order: Order | None) -> Order:
    if order is None or order.user_id != caller.user_id:
        raise problem_of(ORDER_NOT_FOUND)
    return order
