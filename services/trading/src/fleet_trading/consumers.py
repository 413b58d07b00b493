"""What trading reads, and what time causes."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from fleet_bus import Due, DueKind, NotYet, Received, Transaction, Work, housekeeping
from fleet_chassis.logging import get_logger
from fleet_contracts import Message
from fleet_contracts.auth import User
from fleet_contracts.core_engine import CancelRequested, OrderRequested
from fleet_contracts.exchange_connector import MarketStepEnded
from fleet_contracts.execution import OrderReports
from fleet_contracts.topics import AUTH_USERS, CORE_ENGINE_ORDER_REQUESTS, EXECUTION_REPORTS
from fleet_simulator import OrderType, Side, TimeInForce

from . import domain
from .domain.group import taken_back
from .events import books_do_not_hold
from .ports import Market, account_key, claim_key, user_key
from .reports import commands_of, report_touches
from .service.accounts import default_account_id, open_default_account
from .service.money import go_on_with_reset
from .service.orders import Cancellation, OrderDesk, Refused, Submission
from .service.reports import ask_about_unanswered, book
from .store import Forgetting, PostgresUnit
from .store.checking import CHECK, check
from .store.forgetting import FORGET
from .store.snapshots import EVERY, SNAPSHOTS, STEP_SNAPSHOTS
from .store.unit import RESET, UNANSWERED

log = get_logger("fleet_trading")

Unit = Callable[[Transaction], PostgresUnit]


def reports(unit: Unit, market: Market) -> Work:
    """execution.reports: facts, all of them booked."""

    async def on_reports(uow: PostgresUnit, received: Received[OrderReports]) -> None:
        message = received.message
        account = uow.account(message.account_id)
        if account is None:
            raise NotYet(f"account {message.account_id}")
        book(uow, account, commands_of(message, uow.now), market=market)

    return Work("reports", (EXECUTION_REPORTS,), unit, {OrderReports: on_reports}, report_touches)


def signal_client_order_id(signal_id: UUID) -> str:
    return f"sig-{signal_id}"


def order_requests(unit: Unit, desk: OrderDesk, market: Market) -> Work:
    """core-engine.order-requests: signals that were found valid; a denial leaves a denied order, never an exception. And
    the steps of a replay."""

    async def on_order(uow: PostgresUnit, received: Received[OrderRequested]) -> None:
        m = received.message
        limit_price, terms = _terms_of(m)
        submission = Submission(
            account_id=m.account_id,
            user_id=m.user_id,
            client_order_id=signal_client_order_id(m.signal_id),
            symbol=m.symbol,
            side=Side(m.side.value),
            type=OrderType(m.order_type.value),
            quantity=m.quantity,
            limit_price=limit_price,
            time_in_force=TimeInForce(m.time_in_force.value),
            deployment_id=m.deployment_id,
            signal_id=m.signal_id,
            strategy_id=m.strategy_id,
            market_at=received.market_at or market.market_at(m.symbol),
            terms=terms,
        )
        await desk.prepare(uow, submission)
        outcome = desk.submit_signal(uow, submission, uow.user(m.user_id))
        if isinstance(outcome, Refused):
            log.error("signal_refused", signal_id=m.signal_id, account_id=m.account_id, code=outcome.reason.code)

    async def on_cancel(uow: PostgresUnit, received: Received[CancelRequested]) -> None:
        m = received.message
        account = uow.account(m.account_id)
        claim = uow.claim(m.account_id, signal_client_order_id(m.target_signal_id))
        if account is None or claim is None or claim.order.deployment_id != m.deployment_id:
            log.warning("signal_cancels_nothing", signal_id=m.signal_id, target_signal_id=m.target_signal_id)
            return
        for order_id in taken_back(account, claim.order.order_id):
            outcome = desk.cancel(uow, Cancellation(m.account_id, m.user_id, order_id))
            if isinstance(outcome, Refused):
                log.info("signal_cancel_refused", signal_id=m.signal_id, code=outcome.reason.code)

    async def on_step(uow: PostgresUnit, received: Received[MarketStepEnded]) -> None:
        uow.snapshots_of_step(UUID(int=0), received.message.step, received.message.market_at)

    def touches(message: OrderRequested | CancelRequested | MarketStepEnded) -> list[str]:
        if isinstance(message, MarketStepEnded):
            return []
        signal_id = message.signal_id if isinstance(message, OrderRequested) else message.target_signal_id
        claim = claim_key(message.account_id, signal_client_order_id(signal_id))
        return [account_key(message.account_id), claim, user_key(message.user_id)]

    handlers: Mapping[type[Message], Any] = {
        OrderRequested: on_order,
        CancelRequested: on_cancel,
        MarketStepEnded: on_step,
    }
    return Work("order-requests", (CORE_ENGINE_ORDER_REQUESTS,), unit, handlers, touches)


def _terms_of(m: OrderRequested) -> tuple[Decimal | None, domain.Terms | None]:
    """The limit_price and what else the order has."""
    terms = domain.Terms(
        stop_price=m.stop_price,
        trail_amount=m.trail_amount,
        trail_percent=m.trail_percent,
        expires_at=m.expires_at,
        post_only=m.post_only,
        reduce_only=m.reduce_only,
        order_class=domain.OrderClass(m.order_class.value),
        take_profit_price=m.take_profit_price,
        stop_loss_price=m.stop_loss_price,
        stop_loss_limit_price=m.stop_loss_limit_price,
    )
    if terms == domain.NO_TERMS and not OrderType(m.order_type.value).is_triggered:
        return m.limit_price, None
    return domain.merged(m.limit_price, terms)


def users(unit: Unit, market: Market, opening_deposit: Decimal) -> Work:
    """auth.users: whoever is registered has a paper account."""

    async def on_user(uow: PostgresUnit, received: Received[User]) -> None:
        m = received.message
        user = domain.User(m.user_id, m.roles, m.status, m.version)
        await open_default_account(uow, user, deposit=opening_deposit, market=market)

    def touches(message: User) -> list[str]:
        return [account_key(default_account_id(message.user_id))]

    return Work("users", (AUTH_USERS,), unit, {User: on_user}, touches)


def unanswered(unit: Unit) -> DueKind:
    """Orders whose report is overdue; rows of it exist on live feeds only."""

    async def on_due(uow: PostgresUnit, due: Due) -> None:
        account = uow.account(UUID(due.aggregate_id))
        if account is not None:
            await ask_about_unanswered(uow, account)

    return DueKind(UNANSWERED, "wall", unit, lambda aggregate_id: [account_key(UUID(aggregate_id))], on_due)


def resets(unit: Unit, desk: OrderDesk, market: Market, opening_deposit: Decimal) -> DueKind:
    """Accounts that begin anew, once their orders have ended."""

    async def on_due(uow: PostgresUnit, due: Due) -> None:
        account_id, _, reset_id = due.aggregate_id.partition(":")
        account = uow.account(UUID(account_id))
        if account is not None:
            await go_on_with_reset(uow, account, UUID(reset_id), desk=desk, market=market, opening=opening_deposit)

    return DueKind(RESET, "wall", unit, lambda aggregate_id: [account_key(UUID(aggregate_id[:36]))], on_due)


def hourly_snapshots(unit: Unit, market: Market, *, is_live: bool) -> DueKind:
    """What accounts are worth, each hour of the wall clock, the first of a day with what they began it with; a replay has
    none."""

    async def on_due(uow: PostgresUnit, due: Due) -> None:
        come_to = None
        if is_live:
            come_to = await uow.take_snapshots(UUID(due.aggregate_id), market, uow.now, opens=market.day())
        if come_to is not None:
            uow.snapshots_later(come_to, due.sequence, due.due_at)
        else:
            next_at = uow.now.replace(minute=0, second=0, microsecond=0) + EVERY
            uow.snapshots_later(UUID(int=0), due.sequence + 1, next_at)

    return DueKind(SNAPSHOTS, "wall", unit, lambda _: [], on_due, counts_at_rest=False)


def step_snapshots(unit: Unit, market: Market) -> DueKind:
    """What accounts are worth at the end of each step of a replay, which goes on when all of them are taken."""

    async def on_due(uow: PostgresUnit, due: Due) -> None:
        come_to = await uow.take_snapshots(UUID(due.aggregate_id), market, due.due_at)
        if come_to is not None:
            uow.snapshots_of_step(come_to, due.sequence, due.due_at)

    return DueKind(STEP_SNAPSHOTS, "market", unit, lambda _: [], on_due)


def checking() -> DueKind:
    """The books, some accounts a second. Housekeeping too."""

    async def on_due(tx: Transaction, due: Due) -> None:
        for problem in await check(tx, due):
            books_do_not_hold(problem)

    return housekeeping(CHECK, on_due)


def forgetting() -> DueKind:
    """client_order_ids whose time is over. Housekeeping, which must not keep a fleet from rest."""

    async def on_due(uow: Forgetting, due: Due) -> None:
        await uow.forget(due)

    return DueKind(FORGET, "wall", Forgetting, lambda aggregate_id: [aggregate_id], on_due, counts_at_rest=False)
