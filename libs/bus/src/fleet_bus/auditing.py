"""For the audit log: what an administrator or an operator did, told with the act."""

from datetime import datetime

from fleet_chassis.requests import current_client_address, current_request_id
from fleet_contracts import Topic
from fleet_contracts.audit import AdminActed, Change

from .transaction import Transaction


def tell_acted(
    tx: Transaction, topic: Topic, action: str, target: str, *changes: Change, by: str, reason: str | None = None
) -> None:
    """Sent if this transaction commits; `topic` is that of its service. `by`: a user's id, `cli:<name>`, or the service."""
    tx.publish(topic, target, acted(action, target, *changes, by=by, reason=reason, at=tx.now))


def acted(action: str, target: str, *changes: Change, by: str, reason: str | None = None, at: datetime) -> AdminActed:
    """The act, in the request that is being answered."""
    return AdminActed(
        actor=by,
        action=action,
        target=target,
        changes=changes,
        reason=reason,
        request_id=current_request_id(),
        address=current_client_address(),
        at=at,
    )
