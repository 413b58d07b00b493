"""What administrators and operators did, for the audit log."""

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

from fleet_bus import Transaction, tell_acted
from fleet_contracts.audit import Change
from fleet_contracts.encoding import plain
from fleet_contracts.topics import TRADING_AUDIT

from fleet_trading.domain.ledger import Adjustment
from fleet_trading.domain.risk.limits import Limit, Scope
from fleet_trading.domain.values import AccountStatus


def tell_limits_set(
    tx: Transaction,
    scope: Scope,
    target: str,
    *,
    before: Mapping[str, Decimal | None],
    after: Mapping[Limit, Decimal | None],
    by: UUID,
) -> None:
    changes = [
        Change(name=name.value, before=_text(before.get(name.value)), after=_text(value))
        for name, value in after.items()
    ]
    acted_on = f"{scope.value}:{target}" if target else scope.value
    tell_acted(tx, TRADING_AUDIT, "limits.set", acted_on, *changes, by=str(by))


def tell_entry_booked(tx: Transaction, booked: Adjustment, *, by: str) -> None:
    """What is no trade, and nobody but an operator books."""
    changes = [Change(name=booked.currency, after=plain(booked.amount))]
    if booked.unit_cost is not None:
        changes.append(Change(name="unit_cost", after=plain(booked.unit_cost)))
    target = f"account:{booked.account_id}"
    tell_acted(tx, TRADING_AUDIT, f"{booked.kind.value}.booked", target, *changes, by=by, reason=booked.source)


def tell_account_released(tx: Transaction, account_id: UUID, *, by: UUID, reason: str) -> None:
    change = Change(name="status", before=AccountStatus.REDUCE_ONLY.value, after=AccountStatus.ACTIVE.value)
    tell_acted(tx, TRADING_AUDIT, "account.released", f"account:{account_id}", change, by=str(by), reason=reason)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
