"""A deadline as trading tells it to a last gate, directly."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4


async def set_deadline(
    gate: Any, service: str, account_id: UUID, *, cancel_at: datetime | None = None, passed_at: datetime | None = None
) -> None:
    """`gate`: a service under test, with its `url`, `keys` and `http`."""
    body = {
        "account_id": str(account_id),
        "user_id": str(uuid4()),
        "set_at": datetime.now(UTC).isoformat(),
        "cancel_at": cancel_at and cancel_at.isoformat(),
        "passed_at": passed_at and passed_at.isoformat(),
    }
    headers = gate.keys.of_service("trading", service)
    async with gate.http.post(f"{gate.url}/internal/cancel-after", json=body, headers=headers) as response:
        assert response.status == 204, await response.text()
