"""What other services tell of acts, and the signature of each day."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fleet_bus import Due, DueKind, Received, Transaction, Work
from fleet_chassis.logging import get_logger
from fleet_contracts.audit import AdminActed
from fleet_contracts.topics import AUDIT_TOPICS

from fleet_auth.store import PostgresUnitOfWork

from .domain import next_midnight
from .service import sign_days
from .store import AuditLog

SIGN_DAY = "sign_audit_day"
_OWNERS = {topic.name: topic.owner for topic in AUDIT_TOPICS}

log = get_logger(__name__)


async def _keep(uow: PostgresUnitOfWork, received: Received[AdminActed]) -> None:
    audit = AuditLog(uow.tx.connection, uow.now)
    await audit.add(received.message, service=_OWNERS[received.topic], event_id=received.event_id)


ACTS = Work(
    name="audit",
    topics=AUDIT_TOPICS,
    unit_of_work=PostgresUnitOfWork,
    touches=lambda acted: (acted.target,),
    handlers={AdminActed: _keep},
)


def begin_signing(tx: Transaction) -> None:
    """Signs what is missing at once, and then at each midnight. Only the due row signs, so that its lock and the log's are
    always taken in one order."""
    tx.schedule(SIGN_DAY, "audit", 0, "wall", tx.now)


def sign_each_day(key: Ed25519PrivateKey) -> DueKind:
    """Each digest is also told to the log of the service, which is kept elsewhere than the database."""

    async def sign(uow: PostgresUnitOfWork, _: Due) -> None:
        for digest in await sign_days(AuditLog(uow.tx.connection, uow.now), key):
            log.info(
                "audit_day_signed",
                day=digest.day.isoformat(),
                last_number=digest.last_number,
                last_hash=digest.last_hash,
            )
        uow.tx.schedule(SIGN_DAY, "audit", 0, "wall", next_midnight(uow.now))

    return DueKind(
        kind=SIGN_DAY,
        clock="wall",
        unit_of_work=PostgresUnitOfWork,
        touches=lambda _: (),
        handle=sign,
        counts_at_rest=False,
    )
