"""Tickets that open sockets, for API keys and where headers cannot be sent; auth knows them, and takes each once."""

from dataclasses import dataclass

import msgspec
from fleet_chassis.problems import unavailable

from .api_keys import KeyTold
from .identity import Claims, Principal, unauthenticated
from .upstream import Upstream


class _OfKey(msgspec.Struct, frozen=True):
    """`api_key` None: the ticket is of a session."""

    exp: float
    told_at: float | None = None
    api_key: KeyTold | None = None


@dataclass(frozen=True, slots=True)
class Tickets:
    upstream: Upstream

    async def redeem(self, ticket: str, request_id: str) -> Principal:
        """Who was given the ticket. Raises Problem 401 or 503."""
        answer = await self.upstream.send(
            "auth",
            "POST",
            "/internal/ws-tickets/redeem",
            claims=None,
            request_id=request_id,
            headers={"Content-Type": "application/json"},
            body=msgspec.json.encode({"ticket": ticket}),
        )
        if answer.status == 503:
            raise unavailable("The service auth cannot judge the ticket.")
        if answer.status != 200:
            raise unauthenticated("ticket_unknown", "The ticket is not known, used or expired.")
        told = msgspec.json.decode(answer.body, type=_OfKey)
        if told.api_key is None:
            return msgspec.json.decode(answer.body, type=Claims).principal()
        return told.api_key.principal(expires_at=told.exp, told_at=told.told_at)
