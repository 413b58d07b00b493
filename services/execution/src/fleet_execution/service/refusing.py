"""Why an order may not go to its venue now."""

from collections.abc import Callable

from fleet_execution.domain import OrderKey, Refused, refused
from fleet_execution.ports import UnitOfWork

Refusal = Callable[[OrderKey], str | None]
"""The code with which an order must be refused now (the gate is shut, no such venue), None where it may go."""

PLAIN = frozenset({"market", "limit"})
"""The types that every venue takes."""


def refusal_of(uow: UnitOfWork, key: OrderKey, refusal: Refusal) -> Refused | None:
    code = refusal(key) or ("venue_in_doubt" if uow.is_in_doubt(key.venue, key.symbol) else None)
    return None if code is None else refused(code)
