"""What time causes in auth."""

from fleet_bus import Due, DueKind

from .events import FORGET_SESSION, forget_revoked
from .store import PostgresUnitOfWork


async def _forget(uow: PostgresUnitOfWork, due: Due) -> None:
    forget_revoked(uow.tx, due.aggregate_id)


FORGET_REVOKED_SESSIONS = DueKind(
    kind=FORGET_SESSION,
    clock="wall",
    unit_of_work=PostgresUnitOfWork,
    touches=lambda session_id: (session_id,),
    handle=_forget,
    # A replay's market has nothing to do with who is logged in.
    counts_at_rest=False,
)
