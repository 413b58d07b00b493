"""What administrators did, for the audit log."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from fleet_bus import Transaction
from fleet_chassis.requests import current_request_id
from fleet_contracts.audit import AdminActed, Change
from fleet_contracts.encoding import plain
from fleet_contracts.topics import TRADING_AUDIT

from fleet_trading.domain.risk.limits import Limit, Scope


def tell_limits_set(
    tx: Transaction,
    scope: Scope,
    target: str,
    *,
    before: Mapping[str, Decimal | None],
    after: Mapping[Limit, Decimal | None],
    by: UUID,
    at: datetime,
) -> None:
    acted = AdminActed(
        actor=str(by),
        action="limits.set",
        target=f"{scope.value}:{target}" if target else scope.value,
        changes=tuple(
            Change(name=name.value, before=_text(before.get(name.value)), after=_text(value))
            for name, value in after.items()
        ),
        reason=None,
        request_id=current_request_id(),
        at=at,
    )
    tx.publish(TRADING_AUDIT, acted.target, acted)


def _text(value: Decimal | None) -> str | None:
    return None if value is None else plain(value)
