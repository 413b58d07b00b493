"""Whether a signal may become an order: a pure decision over what is known of its deployment, grant and market."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from fleet_simulator import OffGrid, OrderType, Side, TimeInForce, protection_reference, selling_price, trail_ppm
from fleet_simulator.admission import conditions_refusal

from .freshness import is_stale


class Action(StrEnum):
    SUBMIT = "submit"
    CANCEL = "cancel"


class Word(StrEnum):
    """The strictest trading state over system, symbol and account."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


class Drop(StrEnum):
    """Why a signal became nothing; stable, told to the strategy."""

    DEPLOYMENT_NOT_ACTIVE = "deployment_not_active"
    ACCOUNT_MISMATCH = "account_mismatch"
    DEPLOYMENT_MISMATCH = "deployment_mismatch"
    GRANT_MISMATCH = "grant_mismatch"
    GRANT_ENDED = "grant_ended"
    GRANT_EXPIRED = "grant_expired"
    SYMBOL_NOT_DEPLOYED = "symbol_not_deployed"
    SYMBOL_NOT_GRANTED = "symbol_not_granted"
    MALFORMED = "malformed"
    HALTED = "halted"
    REDUCING = "reducing"
    MARKET_CLOSED = "market_closed"
    THROTTLED = "throttled"
    STALE = "stale"
    STALE_QUOTE = "stale_quote"
    MAX_ORDER_NOTIONAL = "max_order_notional"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a strategy wishes, in the words of SignalRaised. Prices and quantities are None where it has none."""

    deployment_id: UUID
    grant_id: UUID
    account_id: UUID
    user_id: UUID
    action: Action
    symbol: str
    raised_at: datetime
    side: Side | None
    order_type: OrderType | None
    quantity: Decimal | None
    limit_price: Decimal | None
    time_in_force: TimeInForce | None
    target_signal_id: UUID | None
    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    trail_percent: Decimal | None = None
    expires_at: datetime | None = None
    post_only: bool = False
    order_class: str = "simple"
    take_profit_price: Decimal | None = None
    stop_loss_price: Decimal | None = None
    stop_loss_limit_price: Decimal | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it carries what its action needs, and nothing that does not go together."""
        if self.action is Action.CANCEL:
            return self.target_signal_id is not None
        if self.side is None or self.order_type is None or self.time_in_force is None:
            return False
        if self.quantity is None or self.quantity <= 0:
            return False
        try:
            ppm = None if self.trail_percent is None else trail_ppm(self.trail_percent)
        except OffGrid:
            return False
        refusal = conditions_refusal(
            self.order_type,
            self.time_in_force,
            limit_price=self.limit_price,
            stop_price=self.stop_price,
            trail_amount=self.trail_amount,
            trail_ppm=ppm,
            expires_at=self.expires_at,
            post_only=self.post_only,
        )
        return refusal is None and self._has_whole_exits

    @property
    def _has_whole_exits(self) -> bool:
        prices = (self.take_profit_price, self.stop_loss_price, self.stop_loss_limit_price)
        if any(price is not None and price <= 0 for price in prices):
            return False
        has_target, has_stop, has_stop_limit = (price is not None for price in prices)
        if has_stop_limit and not has_stop:
            return False
        match self.order_class:
            case "bracket":
                return has_target and has_stop
            case "oto":
                return has_target is not has_stop
            case "oco":  # the order is the take-profit itself
                return self.order_type is OrderType.LIMIT and has_stop and not has_target
            case _:
                return not has_target and not has_stop

    def price(self, far_side: Decimal | None) -> Decimal | None:
        """What its cap is measured at: its limit, or where it would become a market order; of an OCO the dearer one's.

        `far_side` is the price that a market order would get. None: it is needed, and not there.
        """
        assert self.side is not None and self.order_type is not None, "it is whole"
        if self.order_class == "oco":
            return max(
                p for p in (self.limit_price, self.stop_loss_limit_price or self.stop_loss_price) if p is not None
            )
        return self.limit_price or protection_reference(
            self.side,
            self.order_type,
            far_side,
            stop_price=self.stop_price,
            trail_amount=self.trail_amount,
            trail_percent=self.trail_percent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    account_id: UUID
    user_id: UUID
    symbols: frozenset[str]
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What the owner of the account allows the deployment; None is no cap and no end."""

    account_id: UUID
    user_id: UUID
    symbols: frozenset[str]
    max_order_notional: Decimal | None
    expires_at: datetime | None
    is_active: bool


@dataclass(frozen=True, slots=True)
class Quote:
    """The reference venue's best prices, not to be trusted after `stale_after` (None: as long as the market stands)."""

    bid: Decimal
    ask: Decimal
    stale_after: datetime | None


class Missing(LookupError):
    """Another topic will bring what is missing; until then nothing is decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known when a signal is judged. None: never heard of.

    `now` is the clock that ends grants, market time on a replay; `max_age` None leaves out the checks of freshness,
    which compare with a wall clock that a replay does not have. `is_open`: whether the symbol's exchange has a session;
    on a replay its bars say so. `is_free`: whether the deployment may raise another order this minute."""

    account_owner: UUID | None
    deployment: Deployment | None
    grant: Grant | None
    is_symbol_known: bool
    state: Word
    quote: Quote | None
    now: datetime
    max_age: timedelta | None
    is_open: bool = True
    is_free: bool = True

    @property
    def is_quote_stale(self) -> bool:
        after = None if self.quote is None else self.quote.stale_after
        return is_stale(after, None if self.max_age is None else self.now)


def judge(signal: Signal, known: Circumstances) -> Drop | None:
    """None accepts. Raises Missing. A cancel needs no more than to come from the deployment that the account granted."""
    if known.account_owner is None:
        raise Missing(f"account {signal.account_id}")
    if known.account_owner != signal.user_id:
        return Drop.ACCOUNT_MISMATCH
    if known.grant is None:
        raise Missing(f"grant {signal.grant_id}")
    if known.deployment is None:
        raise Missing(f"deployment {signal.deployment_id}")
    return _identity(signal, known.deployment, known.grant) or (
        None
        if signal.action is Action.CANCEL
        else _permission(signal, known.deployment, known.grant, known.now)
        or _market(signal, known)
        or _notional(signal, known.grant, known)
    )


def _identity(signal: Signal, deployment: Deployment, grant: Grant) -> Drop | None:
    who = (signal.account_id, signal.user_id)
    if (deployment.account_id, deployment.user_id) != who:
        return Drop.DEPLOYMENT_MISMATCH
    if (grant.account_id, grant.user_id) != who or signal.grant_id != signal.deployment_id:
        return Drop.GRANT_MISMATCH
    return None if signal.is_whole else Drop.MALFORMED


def _permission(signal: Signal, deployment: Deployment, grant: Grant, now: datetime) -> Drop | None:
    if not deployment.is_active:
        return Drop.DEPLOYMENT_NOT_ACTIVE
    if signal.symbol not in deployment.symbols:
        return Drop.SYMBOL_NOT_DEPLOYED
    if not grant.is_active:
        return Drop.GRANT_ENDED
    if grant.expires_at is not None and now >= grant.expires_at:
        return Drop.GRANT_EXPIRED
    return None if signal.symbol in grant.symbols else Drop.SYMBOL_NOT_GRANTED


def _market(signal: Signal, known: Circumstances) -> Drop | None:
    if not known.is_symbol_known:
        raise Missing(f"instrument {signal.symbol}")
    if known.state is Word.HALTED:
        return Drop.HALTED
    if known.state is Word.REDUCING and signal.side is Side.BUY:
        return Drop.REDUCING
    if not known.is_open and signal.time_in_force not in (TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE):
        return Drop.MARKET_CLOSED
    if known.max_age is not None and known.now - signal.raised_at > known.max_age:
        return Drop.STALE
    if known.is_quote_stale:
        return Drop.STALE_QUOTE
    return None if known.is_free else Drop.THROTTLED


def _notional(signal: Signal, grant: Grant, known: Circumstances) -> Drop | None:
    """The cap is on quantity times the price at which the order would trade; its exits only close what it opened."""
    if grant.max_order_notional is None or signal.quantity is None:
        return None
    price = signal.price(None)
    if price is None:
        if known.quote is None:
            raise Missing(f"quote {signal.symbol}")
        price = signal.price(known.quote.ask if signal.side is Side.BUY else known.quote.bid)
    if signal.side is Side.SELL and price is not None:
        assert signal.order_type is not None, "it is whole"
        bid = None if known.quote is None else known.quote.bid
        price = selling_price(signal.order_type, bid, limit_price=price, stop_price=signal.stop_price)
    if price is None:
        return Drop.MALFORMED  # a trail as long as the price
    return Drop.MAX_ORDER_NOTIONAL if signal.quantity * price > grant.max_order_notional else None
