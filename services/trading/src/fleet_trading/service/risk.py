"""Setting limits."""

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

from fleet_trading.domain import Reason
from fleet_trading.domain.risk.limits import Limit, Scope, SetAs
from fleet_trading.ports import UnitOfWork

LIMIT_LOOSENED = "limit_loosened"


async def set_limits(
    uow: UnitOfWork, *, scope: Scope, target: str, set_as: SetAs, values: Mapping[Limit, Decimal | None], by: UUID
) -> Reason | None:
    """Sets limits, or takes them away. An owner is told where an admin's limit is the tighter one: his would not hold."""
    account = uow.account(UUID(target)) if scope is Scope.ACCOUNT else None
    if account is not None and set_as is SetAs.OWNER:
        of_admins = uow.limits.of(account.roles, [account.limits.get(SetAs.ADMIN, {})])
        for name, value in values.items():
            if value is not None and value > of_admins.get(name, value):
                detail = f"An admin has set {name} to {of_admins[name]:f}, which cannot be loosened, was {value:f}."
                return Reason(LIMIT_LOOSENED, detail)
    await uow.change_limits(scope, target, set_as, values, by)
    return None
