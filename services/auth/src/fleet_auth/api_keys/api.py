"""Routes of API keys: made, listed, revoked; and told to the gateway."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from fleet_chassis.permissions import SessionCaller, service_caller
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import Body, DecimalString, FastJSON, Instant, Network, Resource, Symbol
from fleet_contracts.audit import Change
from pydantic import Field

from fleet_auth.audit.store import AuditLog
from fleet_auth.domain import User
from fleet_auth.notices.domain import Event
from fleet_auth.parts import AuthParts, not_stored
from fleet_auth.store import PostgresUnitOfWork
from fleet_auth.tokens import new_secret

from .domain import KNOWN_FOR_S, MOST_KEYS, ApiKey, ScopeNotHeld, TooManyKeys, Use, check_scopes, new_key
from .store import ApiKeys

router = APIRouter(prefix="/api/v1/auth/api-keys", tags=["auth"])
internal = APIRouter(
    prefix="/internal/api-keys", include_in_schema=False, dependencies=[Depends(service_caller("gateway"))]
)

Scope = Literal["read", "trade", "transfer", "strategy", "admin"]


class ApiKeyBody(Body):
    """A bound that is left out does not bind."""

    name: str = Field(min_length=1, max_length=100, examples=["Desk"])
    scopes: list[Scope] = Field(min_length=1, max_length=5)
    ip_allowlist: list[Network] | None = Field(
        default=None, min_length=1, max_length=50, description="Networks such as 203.0.113.0/24."
    )
    expires_at: Instant | None = None
    max_order_notional: Annotated[DecimalString, Field(gt=0)] | None = None
    symbols: list[Symbol] | None = Field(default=None, min_length=1, max_length=500)


class ApiKeyResource(Resource):
    api_key_id: UUID
    name: str
    key: str = Field(description="Goes with each request, as X-API-Key.")
    scopes: list[str]
    ip_allowlist: list[str] | None
    expires_at: datetime | None
    max_order_notional: DecimalString | None
    symbols: list[str] | None
    created_at: datetime
    last_used_at: datetime | None = Field(description="When a request with a right signature came, to the minute.")
    last_used_address: str | None = Field(description="Where it came from; of IPv6 the /64.")


class NewApiKey(ApiKeyResource):
    secret: str = Field(description="Signs requests. It is told here and never again.")


class ApiKeyList(Resource):
    """All of them: a user has 50 at most."""

    data: list[ApiKeyResource]
    next_cursor: None = None
    has_more: Literal[False] = False


class LookupBody(Body):
    key: str = Field(min_length=1, max_length=200)


class UseBody(Body):
    api_key_id: UUID
    used_at: Instant
    address: str = Field(max_length=100)


class UsesBody(Body):
    uses: list[UseBody] = Field(max_length=500)


@router.post("", status_code=201, response_model=NewApiKey)
async def create(body: ApiKeyBody, caller: SessionCaller, auth: AuthParts) -> Response:
    """A key that may do at most what its user may. Takes a second factor shown within five minutes (403 `mfa_required`)."""
    secret = new_secret()
    try:
        async with auth.bus.transaction() as tx:
            caller.require_fresh_factor(tx.now)
            check_scopes(body.scopes, caller.scopes)
            keys, key = ApiKeys(tx, auth.sealer), _api_key(body, caller.user_id, auth.ids.new_id(), tx.now)
            # So that of keys made at once each is counted.
            await PostgresUnitOfWork(tx).locked_user(caller.user_id)
            if len(await keys.of_user(caller.user_id)) >= MOST_KEYS:
                raise TooManyKeys
            await keys.add(key, secret)
            await auth.notices(tx).add(caller.user_id, Event.API_KEY_MADE, key.name)
            await AuditLog(tx.connection, tx.now).note(
                "api_key.made",
                str(key.api_key_id),
                Change(name="user_id", after=str(key.user_id)),
                Change(name="scopes", after=",".join(key.scopes)),
                actor=str(caller.user_id),
            )
    except ScopeNotHeld as error:
        raise Problem(403, "insufficient_scope", f"This needs the scope {error.scope}.") from None
    except TooManyKeys:
        raise Problem(409, "too_many_api_keys", f"A user has {MOST_KEYS} API keys at most.") from None
    return not_stored({**_told(key), "secret": secret}, 201)


@router.get("", response_model=ApiKeyList)
async def list_own(caller: SessionCaller, auth: AuthParts) -> Response:
    """The caller's keys, newest first, without secrets."""
    async with auth.bus.transaction() as tx:
        found = await ApiKeys(tx, auth.sealer).of_user(caller.user_id)
    return FastJSON({"data": [_told(key) for key in found], "next_cursor": None, "has_more": False})


@router.delete("/{api_key_id}", status_code=204)
async def revoke(api_key_id: UUID, caller: SessionCaller, auth: AuthParts) -> Response:
    """No request signed with it is taken any more, within five seconds."""
    async with auth.bus.transaction() as tx:
        name = await ApiKeys(tx, auth.sealer).revoke(caller.user_id, api_key_id)
        if name is not None:
            await auth.notices(tx).add(caller.user_id, Event.API_KEY_REVOKED, name)
            audit = AuditLog(tx.connection, tx.now)
            await audit.note("api_key.revoked", str(api_key_id), actor=str(caller.user_id))
    if name is None:
        raise Problem(404, "not_found", "There is no such API key.")
    return Response(status_code=204)


@internal.post("/lookup")
async def lookup(body: LookupBody, auth: AuthParts) -> Response:
    """What the gateway verifies requests of this key with, and lets it do, for the next minute."""
    async with auth.bus.transaction() as tx:
        found = await ApiKeys(tx, auth.sealer).find(body.key)
        user = None if found is None else await PostgresUnitOfWork(tx).user(found[0].user_id)
        now = tx.now
    if found is None or user is None or not found[0].is_good(user, now):
        raise Problem(404, "api_key_unknown", "The API key is not known, revoked or expired.")
    key, secret = found
    return not_stored({**told_to_gateway(key, user), "known_for_s": KNOWN_FOR_S, "secret": secret})


@internal.post("/used", status_code=204)
async def note_uses(body: UsesBody, auth: AuthParts) -> Response:
    """Keys with whose signatures requests have come."""
    async with auth.bus.transaction() as tx:
        uses = [Use(api_key_id=use.api_key_id, used_at=use.used_at, address=use.address) for use in body.uses]
        await ApiKeys(tx, auth.sealer).note_uses(uses)
    return Response(status_code=204)


def told_to_gateway(key: ApiKey, user: User) -> dict[str, object]:
    """What requests and sockets of the key may do today."""
    return {
        "api_key_id": key.api_key_id,
        "user_id": key.user_id,
        "roles": user.roles,
        "scopes": key.scopes_for(user),
        "symbols": key.symbols,
        "max_order_notional": key.max_order_notional,
        "ip_allowlist": key.ip_allowlist,
        "expires_at": None if key.expires_at is None else key.expires_at.timestamp(),
    }


def _api_key(body: ApiKeyBody, user_id: UUID, api_key_id: UUID, now: datetime) -> ApiKey:
    if body.expires_at is not None and body.expires_at <= now:
        error = FieldError("expires_at", "must be in the future", "value_error")
        raise Problem(422, "invalid_request", "The request does not have the expected shape.", errors=[error])
    cap: Decimal | None = body.max_order_notional
    return ApiKey(
        api_key_id=api_key_id,
        user_id=user_id,
        name=body.name,
        key=new_key(),
        scopes=tuple(sorted(set(body.scopes))),
        symbols=None if body.symbols is None else tuple(sorted(set(body.symbols))),
        max_order_notional=cap,
        ip_allowlist=None if body.ip_allowlist is None else tuple(str(network) for network in body.ip_allowlist),
        expires_at=body.expires_at,
        created_at=now,
    )


def _told(key: ApiKey) -> dict[str, object]:
    return ApiKeyResource.model_validate(key).model_dump(mode="json")
