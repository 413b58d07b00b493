"""Where a request goes: the table of paths, and one replica for one user."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fleet_chassis.instances import Instances
from fleet_contracts.partitioning import slot
from fleet_gateway.routes import SERVICES, find, is_crooked, plain
from fleet_gateway.upstream import Upstream
from hypothesis import given
from hypothesis import strategies as st


@given(st.text(max_size=12) | st.text(max_size=12).map("/api/v1/".__add__))
def test_only_listed_paths_are_forwarded(path: str) -> None:
    route = find(path.encode("utf-8", "surrogatepass"))
    assert route is None or f"{path}/".startswith(f"{route.path_format}/")


@pytest.mark.parametrize(
    ("path", "method", "scope"),
    [
        (b"/api/v1/orders", "GET", "read"),
        (b"/api/v1/orders", "POST", "trade"),
        (b"/api/v1/orders/1", "DELETE", "trade"),
        (b"/api/v1/strategies", "POST", "strategy"),
        (b"/api/v1/exchanges/paper/replays", "POST", "strategy"),
        (b"/api/v1/auth/me", "GET", None),
    ],
)
def test_scopes_of_paths(path: bytes, method: str, scope: str | None) -> None:
    route = find(path)
    assert route is not None
    assert route.scope_for(method) == scope


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/orders", False),
        ("/api/v1/auth/.well-known/jwks.json", False),
        ("/api/v1/markets/BRK.B-USD", False),
        ("/api/v1/orders/..", True),
        ("/api/v1/orders/./x", True),
        ("/api/v1/orders//x", True),
        ("/api/v1/orders\\..\\x", True),
        ("/api/v1/auth/.well-known/../x", True),
    ],
)
def test_paths_that_mean_another(path: str, expected: bool) -> None:
    assert is_crooked(path) is expected


@pytest.mark.parametrize(
    ("sent", "means"),
    [
        (b"/api/v1/orders", b"/api/v1/orders"),
        (b"/api/v1/orders/%62atch", b"/api/v1/orders/batch"),
        (b"/api/v1/auth/%6C%6fgin", b"/api/v1/auth/login"),
        (b"/api/v1/markets/AAPL%2FUSD", b"/api/v1/markets/AAPL%2FUSD"),
        (b"/api/v1/orders/%2562atch", b"/api/v1/orders/%2562atch"),
        (b"/api/v1/orders/%2e%2E", b"/api/v1/orders/.."),
        (b"/api/v1/orders/%6", b"/api/v1/orders/%256"),
        (b"/api/v1/orders/b%6%31tch", b"/api/v1/orders/b%2561tch"),
        (b"/api/v1/orders/%%62atch", b"/api/v1/orders/%25batch"),
    ],
)
def test_needless_escapes_are_undone(sent: bytes, means: bytes) -> None:
    assert plain(sent) == means


async def test_a_user_has_one_replica_of_each_service(fleet: Any, tmp_path: Path) -> None:
    listing = tmp_path / "instances.json"
    urls = [f"http://127.0.0.1:{port}" for port in (1, 2, 3)]
    listing.write_text(
        json.dumps({"instances": [{"name": "trading", "ordinal": at, "url": url} for at, url in enumerate(urls)]})
    )
    upstream = Upstream(fleet.settings, Instances(listing), fleet.signer)
    chosen: dict[str, int] = {}
    for _ in range(300):
        user = str(uuid4())
        at = slot(user) * 3 // 4096
        assert upstream.replicas("trading", {"sub": user}) == (urls[at], urls[(at + 1) % 3])
        url = urls[at]
        chosen[url] = chosen.get(url, 0) + 1
    assert set(chosen) == set(urls)
    assert min(chosen.values()) > 60


def test_every_service_of_the_table_is_known() -> None:
    assert set(SERVICES) == {
        "auth",
        "data",
        "core-engine",
        "strategy",
        "trading",
        "execution",
        "exchange-connector",
        "matching-engine",
    }
