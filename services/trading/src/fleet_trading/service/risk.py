"""Setting limits."""

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

from fleet_trading.domain import Reason
from fleet_trading.domain.risk.limits import Limit, Scope, SetAs
from fleet_trading.ports import UnitOfWork

LIMIT_LOOSENED = "limit_loosened"
SESSION_REQUIRED = "session_required"


async def set_limits(
    uow: UnitOfWork,
    *,
    scope: Scope,
    target: str,
    set_as: SetAs,
    values: Mapping[Limit, Decimal | None],
    by: UUID,
    is_by_key: bool,
) -> Reason | None:
    """Sets limits, or takes them away. An owner is told where an admin's limit is the tighter one: his would not hold. His
    own hold his API keys, also one that was stolen: with a key he only tightens them."""
    account = uow.account(UUID(target)) if scope is Scope.ACCOUNT else None
    if account is not None and set_as is SetAs.OWNER:
        of_admins = uow.limits.of(account.roles, [account.limits.get(SetAs.ADMIN, {})])
        for name, value in values.items():
            if value is not None and value > of_admins.get(name, value):
                detail = f"An admin has set {name} to {of_admins[name]:f}, which cannot be loosened, was {value:f}."
                return Reason(LIMIT_LOOSENED, detail)
        own = account.limits.get(SetAs.OWNER, {})
        for name, value in values.items():
            if is_by_key and name in own and (value is None or value > own[name]):
                wanted = "null" if value is None else f"{value:f}"
                return Reason(SESSION_REQUIRED, f"An API key only tightens {name} of {own[name]:f}, was {wanted}.")
    await uow.change_limits(scope, target, set_as, values, by)
    return None
