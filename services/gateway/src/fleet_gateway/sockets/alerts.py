"""The channel of what people should know of: what stands first, then each beginning and end."""

from fleet_bus import Received, TableView
from fleet_contracts import Message
from fleet_contracts.core_engine import Alert
from fleet_contracts.encoding import encode_json

from fleet_gateway.identity import Principal

from .connection import Connection
from .requests import ALERTS


class Alerts:
    """The sockets that want to hear of alerts."""

    def __init__(self, table: TableView[Alert]) -> None:
        self._table = table
        self._readers: set[Connection] = set()
        table.on_change(self._changed)

    def has(self, connection: Connection) -> bool:
        return connection in self._readers

    def follow(self, connection: Connection) -> None:
        self._readers.add(connection)
        seen = (one for one in self._table.values() if one.ended_at is None and is_for(connection.principal, one))
        standing = sorted(seen, key=lambda one: one.at)
        connection.emit(ALERTS, "snapshot", encode_json(standing))

    def unfollow(self, connection: Connection) -> None:
        self._readers.discard(connection)

    def _changed(self, _key: str, received: Received[Message] | None) -> None:
        if received is None or not isinstance(received.message, Alert) or not self._readers:
            return
        alert, data = received.message, encode_json([received.message])
        for connection in self._readers:
            if is_for(connection.principal, alert):
                connection.emit(ALERTS, "update", data)


def is_for(principal: Principal, alert: Alert) -> bool:
    """What is of somebody's account is for him and for operators."""
    return alert.user_id in (None, principal.user_id) or not principal.scopes.isdisjoint(("admin", "audit"))
