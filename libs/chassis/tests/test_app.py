"""A service made of the chassis answers every error in the API's one shape."""

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest
from fastapi import APIRouter, Depends, FastAPI
from fleet_chassis.app import new_app
from fleet_chassis.assertions import AssertionSigner, Caller
from fleet_chassis.database import CommitOutcomeUnknown, DatabaseUnavailable
from fleet_chassis.health import Health
from fleet_chassis.permissions import UserCaller, service_caller
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.settings import ServiceSettings
from fleet_chassis.shapes import Body, DecimalString, FastJSON, Resource, Symbol
from fleet_testkit.http import served
from yarl import URL

USER = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
LIMIT = 10_000


class NewOrder(Body):
    symbol: Symbol
    quantity: DecimalString


class Order(Resource):
    symbol: str
    quantity: DecimalString
    user_id: UUID


orders = APIRouter(prefix="/api/v1")


@orders.post("/orders", status_code=201)
async def post_order(body: NewOrder, caller: UserCaller) -> Order:
    """Places
    an order. 422 where risk says no. Once."""
    return Order(symbol=body.symbol, quantity=body.quantity, user_id=caller.user_id)


@orders.get("/orders")
async def show_orders() -> list[str]:
    return []


@orders.get("/markets/{symbol}")
async def get_market(symbol: Symbol) -> FastJSON:
    return FastJSON({"symbol": symbol})


@orders.get("/fails/{how}")
async def fail(how: str) -> None:
    raise {
        "bug": RuntimeError("password=hunter2"),
        "lost": asyncpg.ConnectionDoesNotExistError("gone"),
        "refused": ConnectionRefusedError("gone"),
        "exhausted": DatabaseUnavailable("none free"),
        "deadlock": asyncpg.DeadlockDetectedError("x"),
        "unknown": CommitOutcomeUnknown("x"),
        "denied": Problem(422, "insufficient_funds", "…", errors=[FieldError("quantity", "too much", "max")]),
        "nul": asyncpg.CharacterNotInRepertoireError("x"),
        "unique": asyncpg.UniqueViolationError("x"),
    }[how]


@orders.put("/internal/state")
async def put_state(caller: Annotated[Caller, Depends(service_caller("core-engine", "cli"))]) -> dict[str, str]:
    return {"by": caller.issuer}


@dataclass
class Asked:
    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


Ask = Callable[..., Awaitable[Asked]]


@pytest.fixture
async def ask(trading_settings: ServiceSettings, keyring: Any) -> AsyncIterator[Ask]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    settings = trading_settings.model_copy(update={"body_limit_bytes": LIMIT})
    app = new_app(settings, "Trading", lifespan, Health())
    app.include_router(orders)
    signer = AssertionSigner("gateway", keyring.folder / "gateway.pem")
    token = signer.sign("trading", {"sub": str(USER), "roles": [], "scopes": ["trade"], "sid": "s"})
    async with served(app) as url, aiohttp.ClientSession() as session:

        async def ask(method: str, path: str, *, by: str = token, headers: Any = None, **sent: Any) -> Asked:
            sent_headers = {"Authorization": f"Bearer {by}", **(headers or {})}
            target = URL(url + path, encoded=True)
            as_it_is = () if "json" in sent else ("Content-Type",)
            async with session.request(
                method, target, headers=sent_headers, skip_auto_headers=as_it_is, **sent
            ) as answer:
                return Asked(answer.status, answer.headers, await answer.text())

        yield ask


def is_problem(answer: Asked, status: int, code: str) -> bool:
    body = answer.json
    assert set(body) - {"errors"} == {"type", "title", "status", "detail", "instance", "code", "request_id"}
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"] == body["request_id"] != ""
    assert (answer.status, body["status"], body["code"]) == (status, status, code)
    return True


async def test_what_is_right_passes(ask: Ask) -> None:
    answer = await ask("POST", "/api/v1/orders", json={"symbol": "AAPL-USD", "quantity": "0.00000001"})
    assert answer.status == 201
    assert answer.json == {"symbol": "AAPL/USD", "quantity": "0.00000001", "user_id": str(USER)}


JSON = {"Content-Type": "application/json"}
GOOD = b'{"symbol": "AAPL/USD", "quantity": "1"}'


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{bad", JSON, 400, "malformed_json"),
        (b"\xff\xfe\x00", JSON, 400, "malformed_json"),
        (b"[" * 5000, JSON, 400, "malformed_json"),
        (b"1" * 5000, JSON, 400, "malformed_json"),
        (GOOD, {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (GOOD, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (GOOD, {}, 415, "unsupported_media_type"),
        (gzip.compress(b"x" * 10_000_000), JSON | {"Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"x" * (LIMIT + 1), JSON, 413, "body_too_large"),
        (b"", JSON, 422, "invalid_request"),
        (b"[]", JSON, 422, "invalid_request"),
        (b'{"symbol": "AAPL/USD", "quantity": NaN}', JSON, 422, "invalid_request"),
    ],
)
async def test_bodies_that_are_refused(ask: Ask, body: bytes, headers: Any, status: int, code: str) -> None:
    assert is_problem(await ask("POST", "/api/v1/orders", data=body, headers=headers), status, code)


async def test_a_body_without_length_is_counted_as_it_comes(ask: Ask) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    assert is_problem(await ask("POST", "/api/v1/orders", data=endless(), headers=JSON), 413, "body_too_large")


async def test_each_wrong_field_is_named(ask: Ask) -> None:
    answer = await ask("POST", "/api/v1/orders", json={"symbol": "x", "quantity": 1.5, "side": "buy"})
    assert is_problem(answer, 422, "invalid_request")
    assert {(error["field"], error["code"]) for error in answer.json["errors"]} == {
        ("symbol", "symbol"),
        ("quantity", "decimal_string"),
        ("side", "extra_forbidden"),
    }
    assert all(error["message"] for error in answer.json["errors"])


@pytest.mark.parametrize("form", ["AAPL%2FUSD", "AAPL%2fUSD", "AAPL-USD"])
async def test_a_symbol_in_a_path_is_taken_in_all_its_forms(ask: Ask, form: str) -> None:
    assert (await ask("GET", f"/api/v1/markets/{form}")).json == {"symbol": "AAPL/USD"}


async def test_paths_and_methods_that_are_not_there(ask: Ask) -> None:
    assert is_problem(await ask("GET", "/api/v1/nothing"), 404, "not_found")
    answer = await ask("DELETE", "/api/v1/orders")
    assert is_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("bug", 500, "internal_error"),
        ("unique", 500, "internal_error"),
        ("nul", 422, "invalid_request"),
        ("lost", 503, "unavailable"),
        ("refused", 503, "unavailable"),
        ("exhausted", 503, "unavailable"),
        ("deadlock", 503, "unavailable"),
        ("unknown", 504, "outcome_unknown"),
        ("denied", 422, "insufficient_funds"),
    ],
)
async def test_errors_of_the_service(ask: Ask, how: str, status: int, code: str) -> None:
    answer = await ask("GET", f"/api/v1/fails/{how}")
    assert is_problem(answer, status, code)
    assert answer.headers.get("Retry-After") == ("1" if status == 503 else None)
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text


async def test_request_ids_are_taken_or_made(ask: Ask) -> None:
    assert (await ask("GET", "/x", headers={"X-Request-ID": "mine-1"})).headers["X-Request-ID"] == "mine-1"
    for unusable in ("", "a b", "x" * 129, "é"):
        made = (await ask("GET", "/x", headers={"X-Request-ID": unusable})).headers["X-Request-ID"]
        assert UUID(made).version == 7


async def test_users_come_through_the_gateway_only(ask: Ask, keyring: Any) -> None:
    engine = AssertionSigner("core-engine", keyring.folder / "core-engine.pem")
    gateway = AssertionSigner("gateway", keyring.folder / "gateway.pem")
    order = {"symbol": "AAPL/USD", "quantity": "1"}
    by_engine = await ask("POST", "/api/v1/orders", json=order, by=engine.sign("trading", {"sub": str(USER)}))
    assert is_problem(by_engine, 401, "invalid_assertion")
    assert is_problem(
        await ask("POST", "/api/v1/orders", json=order, by=gateway.sign("trading")), 401, "invalid_assertion"
    )
    assert is_problem(await ask("POST", "/api/v1/orders", json=order, by="x"), 401, "invalid_assertion")
    assert (await ask("PUT", "/api/v1/internal/state", by=engine.sign("trading"))).json == {"by": "core-engine"}
    assert is_problem(await ask("PUT", "/api/v1/internal/state"), 403, "forbidden")


async def test_metrics_name_routes_and_no_paths(ask: Ask) -> None:
    await ask("GET", "/api/v1/markets/GOOG-USD")
    await ask("GET", "/secret-path-of-a-user")
    metrics = (await ask("GET", "/metrics")).text
    assert 'fleet_http_request_seconds_count{method="GET",route="/api/v1/markets/{symbol}",status="200"}' in metrics
    assert 'route="unmatched",status="404"' in metrics
    assert "GOOG" not in metrics
    assert "secret-path" not in metrics


async def test_the_openapi_document_shows_problems(ask: Ask) -> None:
    document = (await ask("GET", "/openapi.json")).json
    operation = document["paths"]["/api/v1/orders"]["post"]
    assert set(operation["responses"]) == {"201", "default"}
    assert (operation["summary"], operation["description"]) == ("Places an order", "422 where risk says no. Once.")
    assert document["components"]["schemas"]["NewOrder"]["properties"]["quantity"]["type"] == "string"
    assert operation["x-permission"] == "any user"
    assert "Problem" in document["components"]["schemas"]
    assert not [path for path in document["paths"] if path.startswith(("/health", "/metrics"))]
