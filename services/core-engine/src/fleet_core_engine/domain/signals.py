"""Whether a signal may become an order: a pure decision over what is known of its deployment, grant and market."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID


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
    STALE = "stale"
    STALE_QUOTE = "stale_quote"
    MAX_ORDER_NOTIONAL = "max_order_notional"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a strategy wishes. Prices and quantities are None where the action has none."""

    deployment_id: UUID
    grant_id: UUID
    account_id: UUID
    user_id: UUID
    action: Action
    symbol: str
    raised_at: datetime
    side: str | None
    order_type: str | None
    quantity: Decimal | None
    limit_price: Decimal | None
    time_in_force: str | None
    target_signal_id: UUID | None

    @property
    def is_whole(self) -> bool:
        """Whether it carries what its action needs."""
        if self.action is Action.CANCEL:
            return self.target_signal_id is not None
        has_limit = self.limit_price is not None and self.limit_price > 0
        return (
            self.side is not None
            and self.time_in_force is not None
            and self.quantity is not None
            and self.quantity > 0
            and (has_limit if self.order_type == "limit" else self.order_type == "market" and self.limit_price is None)
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
    which compare with a wall clock that a replay does not have."""

    account_owner: UUID | None
    deployment: Deployment | None
    grant: Grant | None
    is_symbol_known: bool
    state: Word
    quote: Quote | None
    now: datetime
    max_age: timedelta | None


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
    if known.state is Word.REDUCING and signal.side == "buy":
        return Drop.REDUCING
    is_stale = known.max_age is not None and known.now - signal.raised_at > known.max_age
    return Drop.STALE if is_stale else None


def _notional(signal: Signal, grant: Grant, known: Circumstances) -> Drop | None:
    """The cap is on quantity times the price at which the order would trade: its limit, else the far side of the book."""
    if grant.max_order_notional is None or signal.quantity is None:
        return None
    price = signal.limit_price
    if price is None:
        if known.quote is None:
            raise Missing(f"quote {signal.symbol}")
        if known.max_age is not None and known.quote.stale_after is not None and known.now > known.quote.stale_after:
            return Drop.STALE_QUOTE
        price = known.quote.ask if signal.side == "buy" else known.quote.bid
    return Drop.MAX_ORDER_NOTIONAL if signal.quantity * price > grant.max_order_notional else None
