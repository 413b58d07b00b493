"""A thin client of the public API. Answers are the API's JSON; errors are types; no POST is ever sent twice by itself."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from fleet_contracts.encoding import encode_json
from yarl import URL

from fleet_sdk.problems import CodeNeeded, OutcomeUnknown, Unreachable, problem
from fleet_sdk.signing import ApiKey
from fleet_sdk.socket import SILENCE_S, Socket

Json = dict[str, Any]

_REFRESH_BEFORE_S = 30.0  # of an access token's 5 minutes: longer than any request may take
_PAGE = 500  # the most that a list gives at once


class FleetClient:
    """`async with FleetClient("http://127.0.0.1:8000") as client: await client.login(email, password)`.

    Decimals, times and UUIDs may be passed as such; answers have them as strings. `timeout_s` bounds each request. With an
    `api_key` there is no login: each request is signed, and a socket opened with a ticket.
    Raises ApiError, Unreachable or OutcomeUnknown.
    """

    def __init__(self, url: str, *, timeout_s: float = 10.0, api_key: ApiKey | None = None) -> None:
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._api_key = api_key
        self._session: aiohttp.ClientSession | None = None
        self._access_token: str | None = None
        self._refresh_token: str | None = None
        self._expires_at = 0.0
        self._refreshing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    # -- users and sessions --------------------------------------------------------------------------------------

    async def register(self, email: str, password: str, display_name: str | None = None) -> Json:
        body = {"email": email, "password": password} | ({"display_name": display_name} if display_name else {})
        return await self._object("POST", "/auth/register", body, authorized=False)

    async def login(self, email: str, password: str) -> None:
        """Keeps the tokens; the access token is renewed by itself before it expires. Raises CodeNeeded."""
        body = {"email": email, "password": password}
        answer = await self._object("POST", "/auth/login", body, authorized=False)
        if answer.get("mfa_required"):
            raise CodeNeeded(answer["mfa_token"])
        self._keep(answer)

    async def login_with_code(self, mfa_token: str, code: str) -> None:
        """The second step of a login: a code of the authenticator, or a recovery code."""
        body = {"mfa_token": mfa_token, "code": code}
        self._keep(await self._object("POST", "/auth/login/mfa", body, authorized=False))

    async def step_up(self, code: str) -> None:
        """Shows the second factor again: what is refused with `mfa_required` is let through for five minutes."""
        self._keep(
            {"refresh_token": self._refresh_token} | await self._object("POST", "/auth/mfa/step-up", {"code": code})
        )

    async def resume(self, refresh_token: str) -> None:
        """Goes on with a session whose `refresh_token` was kept; that one is used up, so keep the new one at once."""
        self._refresh_token = refresh_token
        await self.refresh()

    @property
    def refresh_token(self) -> str | None:
        """What the session can be resumed with, once; another one after each refresh."""
        return self._refresh_token

    async def refresh(self) -> None:
        """Renews the tokens now. The old refresh token is worth nothing afterwards."""
        if self._refresh_token is None:
            raise RuntimeError("log in before refreshing")
        self._keep(
            await self._object("POST", "/auth/refresh", {"refresh_token": self._refresh_token}, authorized=False)
        )

    async def logout(self) -> None:
        await self.request("POST", "/auth/logout")
        self._access_token = self._refresh_token = None

    async def me(self) -> Json:
        return await self._object("GET", "/auth/me")

    # -- markets -------------------------------------------------------------------------------------------------

    async def markets(self) -> list[Json]:
        return [market async for market in self.pages("/markets")]

    async def ticker(self, symbol: str) -> Json:
        return await self._object("GET", f"/markets/{_dashed(symbol)}/ticker")

    async def candles(
        self, symbol: str, timeframe: str, *, start: datetime | None = None, end: datetime | None = None
    ) -> list[Json]:
        """Oldest first."""
        found = self.pages(f"/markets/{_dashed(symbol)}/candles", timeframe=timeframe, start=start, end=end)
        return [candle async for candle in found]

    # -- orders and money ----------------------------------------------------------------------------------------

    async def place_order(self, order: Mapping[str, Any]) -> Json:
        """An order of API.md. Give it a `client_order_id` kept beforehand, and an OutcomeUnknown can be resolved."""
        return await self._object("POST", "/orders", order)

    async def place_orders(self, orders: Sequence[Mapping[str, Any]]) -> list[Json]:
        """Up to 500; `[{status, order | problem}]` in the same order."""
        answer: list[Json] = await self.request("POST", "/orders/batch", {"orders": orders})
        return answer

    async def preview_order(self, order: Mapping[str, Any]) -> Json:
        """Whether it would be accepted, all that is against it, and what it would cost; nothing is kept of it."""
        return await self._object("POST", "/orders/preview", order)

    async def order(self, order_id: str) -> Json:
        return await self._object("GET", f"/orders/{order_id}")

    def orders(self, **filters: object) -> AsyncIterator[Json]:
        """Newest first; `status`, `symbol`, `client_order_id`, `account_id`."""
        return self.pages("/orders", **filters)

    async def cancel_order(self, order_id: str) -> Json:
        return await self._object("DELETE", f"/orders/{order_id}")

    async def cancel_after(self, timeout_s: int, *, account_id: str | None = None) -> Json:
        """Cancels all open orders unless it is said again within that time; 0 disables it. Say it before each time runs out."""
        return await self._object("POST", "/orders/cancel-after", {"timeout_s": timeout_s, "account_id": account_id})

    async def accounts(self) -> list[Json]:
        return [account async for account in self.pages("/accounts")]

    def ledger(self, account_id: str) -> AsyncIterator[Json]:
        return self.pages(f"/accounts/{account_id}/ledger")

    def trades(self, **filters: object) -> AsyncIterator[Json]:
        return self.pages("/trades", **filters)

    async def positions(self, **filters: object) -> list[Json]:
        return [position async for position in self.pages("/positions", **filters)]

    async def portfolio(self, **filters: object) -> Json:
        return await self._object("GET", "/portfolio", params=filters)

    def portfolio_history(self, timeframe: str, **filters: object) -> AsyncIterator[Json]:
        """The equity curve, newest first; what had not changed is not repeated."""
        return self.pages("/portfolio/history", timeframe=timeframe, **filters)

    # -- strategies and replays ----------------------------------------------------------------------------------

    async def create_strategy(self, strategy: Mapping[str, Any], *, idempotency_key: str | None = None) -> Json:
        return await self._object("POST", "/strategies", strategy, idempotency_key=idempotency_key)

    async def create_deployment(self, deployment: Mapping[str, Any], *, idempotency_key: str | None = None) -> Json:
        return await self._object("POST", "/deployments", deployment, idempotency_key=idempotency_key)

    async def deployment(self, deployment_id: str) -> Json:
        return await self._object("GET", f"/deployments/{deployment_id}")

    async def change_deployment(self, deployment_id: str, change: str) -> Json:
        """`change`: pause, resume or stop."""
        return await self._object("POST", f"/deployments/{deployment_id}/{change}")

    async def start_replay(self, replay: Mapping[str, Any]) -> Json:
        return await self._object("POST", "/exchanges/paper/replays", replay)

    async def replay(self, replay_id: str) -> Json:
        return await self._object("GET", f"/exchanges/paper/replays/{replay_id}")

    async def cancel_replay(self, replay_id: str) -> None:
        await self.request("DELETE", f"/exchanges/paper/replays/{replay_id}")

    # -- what all of them are made of ----------------------------------------------------------------------------

    async def pages(self, path: str, **filters: object) -> AsyncIterator[Json]:
        """The items of a list, over all its pages. A list that has none (`[...]`) is one page."""
        cursor: str | None = None
        while True:
            page = await self.request("GET", path, params={**filters, "limit": _PAGE, "cursor": cursor})
            for item in page if isinstance(page, list) else page["data"]:
                yield item
            if isinstance(page, list) or not page["has_more"]:
                return
            cursor = page["next_cursor"]

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        params: Mapping[str, object] | None = None,
        authorized: bool = True,
        idempotency_key: str | None = None,
    ) -> Any:
        """Any route under /api/v1: its JSON, or None where there is none."""
        headers = await self._authorization() if authorized else {}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        if body is not None:
            headers["Content-Type"] = "application/json"
        query = {name: _as_text(value) for name, value in (params or {}).items() if value is not None}
        url, content = URL(f"{self._url}/api/v1{path}").update_query(query), b"" if body is None else encode_json(body)
        if authorized and self._api_key is not None:
            headers |= self._api_key.headers(method, url.raw_path_qs, content)
        try:
            async with self._open_session().request(method, url, data=content or None, headers=headers) as response:
                answer = await response.read()
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"no connection to {self._url}: {error.strerror or error}") from error
        except TimeoutError as error:
            raise OutcomeUnknown(f"{method} {path}: no answer within {self._timeout.total} s") from error
        except aiohttp.ClientError as error:
            raise OutcomeUnknown(f"{method} {path}: {error}") from error
        if response.status >= 400:
            body = _problem_body(answer)
            if response.status >= 500 and "code" not in body:
                # Not the API's word: somebody on the way, who does not know what was done.
                raise OutcomeUnknown(f"{method} {path}: {response.status} {body.get('detail', '')}")
            raise problem(response.status, body, response.headers)
        return msgspec.json.decode(answer) if answer else None

    @asynccontextmanager
    async def socket(self, *, silence_s: float = SILENCE_S) -> AsyncIterator[Socket]:
        """A connected socket, closed at the end; subscribe before iterating. Silent so long, it counts as lost."""
        headers = await self._authorization()
        url = URL(f"{self._url}/ws")
        if self._api_key is not None:
            url = url.with_query(ticket=(await self._object("POST", "/auth/ws-tickets"))["ticket"])
        try:
            connection = await self._open_session().ws_connect(url, headers=headers, max_msg_size=0)
        except aiohttp.WSServerHandshakeError as error:
            raise problem(error.status, {"detail": error.message, "code": "socket_refused"}) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"no socket at {self._url}/ws: {error}") from error
        socket = Socket(connection, silence_s=silence_s)
        try:
            yield socket
        finally:
            await socket.close()

    async def _object(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        params: Mapping[str, object] | None = None,
        authorized: bool = True,
        idempotency_key: str | None = None,
    ) -> Json:
        answer = await self.request(
            method, path, body, params=params, authorized=authorized, idempotency_key=idempotency_key
        )
        return answer if answer is not None else {}

    async def _authorization(self) -> dict[str, str]:
        if self._access_token is None:
            return {}
        async with self._refreshing:
            if asyncio.get_running_loop().time() >= self._expires_at - _REFRESH_BEFORE_S:
                await self.refresh()
        return {"Authorization": f"Bearer {self._access_token}"}

    def _keep(self, tokens: Json) -> None:
        self._access_token, self._refresh_token = tokens["access_token"], tokens["refresh_token"]
        self._expires_at = asyncio.get_running_loop().time() + float(tokens["expires_in"])

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client as `async with FleetClient(url) as client`")
        return self._session


def _dashed(symbol: str) -> str:
    return symbol.replace("/", "-")


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _problem_body(answer: bytes) -> Json:
    """The problem document, or what else a server on the way said."""
    try:
        body = msgspec.json.decode(answer)
    except msgspec.DecodeError:
        body = None
    return body if isinstance(body, dict) else {"detail": answer[:200].decode(errors="replace")}
