"""Snapshots for sockets, asked of trading as the user would ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec
from fleet_chassis.problems import unavailable
from fleet_contracts.trading import Account

from fleet_gateway.identity import Principal
from fleet_gateway.upstream import Upstream

from .updates import AccountSnapshot

PAGE = 500
MAX_PAGES = 20
"""10,000 open orders or positions of one account: 7 MB, so that a reader need not hold more than 16 MiB. Who has more is told
so, and reads the rest page by page over HTTP, once the stream has begun: whatever changes meanwhile comes with its version."""
TRIES = 3
"""Readings of a portfolio until nothing changed meanwhile."""


class _Page(msgspec.Struct):
    data: list[msgspec.Raw]
    next_cursor: str | None = None


class _Order(msgspec.Struct):
    order_id: str
    version: int


class _Trade(msgspec.Struct):
    trade_id: str
    version: int


class _Portfolio(msgspec.Struct):
    account_id: str
    version: int


class AccountsOfUsers:
    """Which accounts a user has, as trading.accounts tells."""

    def __init__(self) -> None:
        self._accounts: dict[str, dict[str, bool]] = {}

    def take(self, account: Account) -> None:
        self._accounts.setdefault(str(account.user_id), {})[str(account.account_id)] = account.is_default

    def of(self, user: str) -> Sequence[str]:
        """The default one first; empty until the user's first account is known."""
        accounts = self._accounts.get(user, {})
        return sorted(accounts, key=lambda account_id: (not accounts[account_id], account_id))


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Reads, with the account's version first: what is newer than it cannot be missed afterwards."""

    upstream: Upstream
    accounts: AccountsOfUsers
    new_request_id: Callable[[], str]

    async def read(self, channel: str, principal: Principal) -> AccountSnapshot:
        """Raises Problem, 503 when trading cannot be asked."""
        versions: dict[str, int] = {}
        known: dict[str, int] = {}
        texts: list[bytes] = []
        is_truncated = False
        # A user's first request of all opens his default account.
        accounts: Sequence[str | None] = self.accounts.of(principal.key) or (None,)
        for account_id in accounts:
            portfolio = await self._portfolio(principal, account_id)
            at = msgspec.json.decode(portfolio, type=_Portfolio)
            versions[at.account_id] = at.version
            if channel == "portfolio":
                whole, is_cut = await self._whole_portfolio(principal, at, portfolio, versions)
                texts.append(whole)
            elif channel == "trades":
                found, is_cut = await self._newest_trades(principal, at.account_id, known), False
                texts += found
            else:
                found, is_cut = await self._orders(principal, at.account_id, known)
                texts += found
            is_truncated = is_truncated or is_cut
        return AccountSnapshot(b"[" + b",".join(texts) + b"]", versions, known, is_truncated)

    async def _newest_trades(self, principal: Principal, account_id: str, known: dict[str, int]) -> list[bytes]:
        newest = await self._page(principal, "trades", account_id=account_id)
        trades = [(msgspec.json.decode(raw, type=_Trade), raw) for raw in newest.data]
        known.update((trade.trade_id, trade.version) for trade, _ in trades)
        return [bytes(raw) for _, raw in trades]

    async def _orders(self, principal: Principal, account_id: str, known: dict[str, int]) -> tuple[list[bytes], bool]:
        """The open ones and the newest of any status; and whether there are more open ones."""
        # The newest of any status too: whoever was cut off learns how orders ended meanwhile. They are read last, so
        # that of an order that ends between the two readings the end is shown.
        found, is_cut = await self._all(principal, "orders", status="open", account_id=account_id)
        newest = await self._page(principal, "orders", status="all", account_id=account_id)
        orders: dict[str, bytes] = {}
        for raw in (*newest.data, *found):
            order = msgspec.json.decode(raw, type=_Order)
            if order.order_id not in orders:
                orders[order.order_id] = bytes(raw)
                known[order.order_id] = order.version
        return list(orders.values()), is_cut

    async def _whole_portfolio(
        self, principal: Principal, at: _Portfolio, portfolio: bytes, versions: dict[str, int]
    ) -> tuple[bytes, bool]:
        """Portfolio, balances and positions of one moment, if there is one in which nothing changes; else with the version
        of before they were read, so that what changed meanwhile is told as an update, and not taken for known. And whether
        there are more positions."""
        for tries_left in reversed(range(TRIES)):
            balances, _ = await self._all(principal, f"accounts/{at.account_id}/balances")
            positions, is_cut = await self._all(principal, "positions", account_id=at.account_id)
            if not tries_left:
                break
            again = await self._portfolio(principal, at.account_id)
            version = msgspec.json.decode(again, type=_Portfolio).version
            if version == versions[at.account_id]:
                break
            portfolio, versions[at.account_id] = again, version
        told = {"portfolio": msgspec.Raw(portfolio), "balances": balances, "positions": positions}
        return msgspec.json.encode(told), is_cut

    async def _portfolio(self, principal: Principal, account_id: str | None) -> bytes:
        return await self._get(principal, "portfolio", **({"account_id": account_id} if account_id else {}))

    async def _all(self, principal: Principal, what: str, **query: Any) -> tuple[list[msgspec.Raw], bool]:
        """As many as a snapshot holds, and whether there are more."""
        found: list[msgspec.Raw] = []
        cursor: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            page = await self._page(principal, what, limit=PAGE, **query, **cursor)
            found += page.data
            if page.next_cursor is None:
                return found, False
            cursor = {"cursor": page.next_cursor}
        return found, True

    async def _page(self, principal: Principal, what: str, **query: Any) -> _Page:
        return msgspec.json.decode(await self._get(principal, what, **query), type=_Page)

    async def _get(self, principal: Principal, what: str, **query: Any) -> bytes:
        target = f"/api/v1/{what}" + (f"?{urlencode(query)}" if query else "")
        answer = await self.upstream.send(
            "trading", "GET", target, claims=principal.claims, request_id=self.new_request_id()
        )
        if answer.status != 200:
            raise unavailable("The service trading does not tell the account.")
        return answer.body
