"""The one composite route: a deployment is a grant of trading's and a deployment of strategy's, under one id."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import msgspec
from fleet_chassis.problems import Problem

from .answers import Answer
from .exchange import Exchange
from .identity import Principal
from .upstream import Upstream

_GRANTED = ("account_id", "symbols", "max_order_notional", "expires_at")
"""The members of a deployment that trading judges."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_problem = msgspec.json.Decoder(dict[str, object])
_encode = msgspec.json.Encoder().encode


class _Grant(msgspec.Struct):
    account_id: UUID


@dataclass(frozen=True, slots=True)
class Deployments:
    upstream: Upstream
    new_id: Callable[[], UUID]

    async def create(self, exchange: Exchange, principal: Principal, body: bytes) -> Answer:
        """Grant first: one whose deployment never comes does no harm, and both calls are idempotent by the id."""
        asked = _parse(body)
        key = exchange.forwarded.get("Idempotency-Key")
        deployment_id = principal.id_under(key, self.new_id)
        granted = await self._grant(
            exchange,
            principal,
            "PUT",
            str(deployment_id),
            _encode({name: asked[name] for name in _GRANTED if name in asked}),
        )
        if granted.status >= 300:
            return _refused(granted, exchange)
        account_id = msgspec.json.decode(granted.body, type=_Grant).account_id
        claims = {"deployment_id": str(deployment_id), "account_id": str(account_id)}
        return await self._forward(exchange, dict(principal.claims) | claims, body)

    async def stop(self, exchange: Exchange, principal: Principal, deployment_id: str, body: bytes) -> Answer:
        """The grant ends first, so that nothing is traded however long the deployment takes to hear of it."""
        try:
            ended = await self._grant(exchange, principal, "DELETE", str(UUID(deployment_id)), b"")
        except ValueError:
            # Not the id of a grant, in no spelling of it.
            return await self._forward(exchange, principal.claims, body)
        if ended.status >= 300 and ended.status != 404:
            return _refused(ended, exchange)
        # Without a grant there may still be a deployment; whose it is strategy judges by itself.
        return await self._forward(exchange, principal.claims, body)

    async def _grant(
        self, exchange: Exchange, principal: Principal, method: str, deployment_id: str, body: bytes
    ) -> Answer:
        return await self.upstream.send(
            "trading",
            method,
            f"/internal/grants/{deployment_id}",
            claims=principal.claims,
            request_id=exchange.request_id,
            headers={"Content-Type": "application/json"} if body else None,
            body=body,
        )

    async def _forward(self, exchange: Exchange, claims: Mapping[str, object], body: bytes) -> Answer:
        return await self.upstream.send(
            "strategy",
            exchange.method,
            exchange.target,
            claims=claims,
            request_id=exchange.request_id,
            headers=exchange.forwarded,
            body=body,
        )


def _parse(body: bytes) -> dict[str, msgspec.Raw]:
    try:
        return _object.decode(body)
    except msgspec.ValidationError as error:
        raise Problem(422, "invalid_request", "The body must be a JSON object.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed_json", "The body is not valid JSON.") from error


def _refused(answer: Answer, exchange: Exchange) -> Answer:
    """trading's refusal, told of the path that the client asked for."""
    told = _problem.decode(answer.body) | {"instance": exchange.path}
    return Answer(answer.status, answer.headers, _encode(told))
