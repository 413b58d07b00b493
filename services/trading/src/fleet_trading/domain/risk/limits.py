"""Which limits there are, and which of those that were set hold for an order: of each the tightest."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from uuid import UUID


class Limit(StrEnum):
    """The stable code of a limit, of the denial by it and of its breach; in the order in which they are checked."""

    RESTRICTED_SYMBOL = "restricted_symbol"
    MAX_ORDER_QUANTITY = "max_order_quantity"
    MAX_ORDER_NOTIONAL = "max_order_notional"
    PRICE_COLLAR = "price_collar"
    FAT_FINGER = "fat_finger"
    ORDER_RATE = "order_rate"
    REPEATED_ORDERS = "repeated_orders"
    OPEN_ORDERS = "open_orders"
    SELF_MATCH = "self_match"
    POSITION_LIMIT = "position_limit"
    CONCENTRATION = "concentration"
    GROSS_EXPOSURE = "gross_exposure"
    DAILY_LOSS = "daily_loss"
    DRAWDOWN = "drawdown"
    GOOD_FAITH_VIOLATIONS = "good_faith_violations"


class Scope(StrEnum):
    """What a limit is set for. What it counts is always the account's."""

    SYSTEM = "system"
    ROLE = "role"
    SYMBOL = "symbol"
    STRATEGY = "strategy"
    API_KEY = "api_key"
    ACCOUNT = "account"


class SetAs(StrEnum):
    """An account has limits of both; so its owner never loosens what an admin has set."""

    ADMIN = "admin"
    OWNER = "owner"


Values = Mapping[Limit, Decimal]
NO_LIMITS: Values = {}

PROHIBITIONS = frozenset({Limit.RESTRICTED_SYMBOL, Limit.SELF_MATCH})
"""Their only value is 0: none is let through."""

LOOK_AT_OPEN_ORDERS = frozenset(
    {Limit.OPEN_ORDERS, Limit.SELF_MATCH, Limit.POSITION_LIMIT, Limit.CONCENTRATION, Limit.GROSS_EXPOSURE}
)
"""Judged by all open orders of the account, which must be in memory then."""

MEASURED = frozenset(
    {
        Limit.OPEN_ORDERS,
        Limit.POSITION_LIMIT,
        Limit.CONCENTRATION,
        Limit.GROSS_EXPOSURE,
        Limit.DAILY_LOSS,
        Limit.DRAWDOWN,
        Limit.GOOD_FAITH_VIOLATIONS,
    }
)
"""Of which more or less is used; others say yes or no to an order."""

MOST_OPEN_ORDERS = 1_000
"""Of an account with such a limit: so many are kept in memory."""

_CEILING = Decimal(MOST_OPEN_ORDERS)
_MOST_KNOWN = 10_000
"""Combinations of roles, symbol, strategy and API key that are remembered, about 500 bytes each."""


def tightest(limits: Iterable[Values]) -> Values:
    """Of each limit the lowest value, in the order of the checks."""
    found: dict[Limit, Decimal] = {}
    for values in limits:
        for name, value in values.items():
            if name not in found or value < found[name]:
                found[name] = value
    if not found.keys().isdisjoint(LOOK_AT_OPEN_ORDERS):
        found[Limit.OPEN_ORDERS] = min(found.get(Limit.OPEN_ORDERS, _CEILING), _CEILING)
    return {name: found[name] for name in Limit if name in found}


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """What the API key that an order was signed with was made for; None: any symbol, any notional."""

    api_key_id: UUID
    symbols: frozenset[str] | None = None
    max_order_notional: Decimal | None = None

    def allows(self, symbol: str) -> bool:
        return self.symbols is None or symbol in self.symbols

    def of(self, symbol: str) -> Values:
        found: dict[Limit, Decimal] = {} if self.allows(symbol) else {Limit.RESTRICTED_SYMBOL: Decimal(0)}
        if self.max_order_notional is not None:
            found[Limit.MAX_ORDER_NOTIONAL] = self.max_order_notional
        return found


class LimitTable:
    """The limits of every scope but accounts, as they stood at one version; an account's own are with the account."""

    def __init__(self, version: int, limits: Mapping[tuple[Scope, str], Values]) -> None:
        self.version = version
        self._limits = limits
        self.are_measured = any(not MEASURED.isdisjoint(values) for values in limits.values())
        """Whether there is any whose use is told of."""
        self._known: dict[tuple[tuple[str, ...], str | None, UUID | None, UUID | None], Values] = {}

    def has_any(self, names: frozenset[Limit], scopes: Collection[Scope]) -> bool:
        return any(scope in scopes and not names.isdisjoint(values) for (scope, _), values in self._limits.items())

    def of(
        self,
        roles: tuple[str, ...],
        own: Iterable[Values],
        *,
        symbol: str | None = None,
        strategy_id: UUID | None = None,
        api_key_id: UUID | None = None,
    ) -> Values:
        """For an order; without a symbol, for the account as a whole. `own` are the account's limits."""
        key = (roles, symbol, strategy_id, api_key_id)
        shared = self._known.get(key)
        if shared is None:
            targets = [(Scope.SYSTEM, ""), *((Scope.ROLE, role) for role in roles)]
            if symbol is not None:
                targets.append((Scope.SYMBOL, symbol))
            if strategy_id is not None:
                targets.append((Scope.STRATEGY, str(strategy_id)))
            if api_key_id is not None:
                targets.append((Scope.API_KEY, str(api_key_id)))
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            shared = self._known[key] = tightest(self._limits.get(target, NO_LIMITS) for target in targets)
        return tightest([shared, *own]) if own else shared
