"""The API's document tells how one may call each operation, and what can be done next."""

import json
from copy import deepcopy
from typing import Any

import pytest
from fleet_gateway.openapi import merge

KEY = {"apiKey", "apiTimestamp", "apiSignature"}


@pytest.fixture(scope="module")
def document(documents: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return merge(deepcopy(documents), "1", [])


@pytest.mark.parametrize(
    ("method", "path", "token", "takes_keys"),
    [
        ("get", "/api/v1/portfolio", ["read"], True),
        ("post", "/api/v1/orders", ["trade"], True),
        ("post", "/api/v1/transfers", ["transfer"], True),
        ("patch", "/api/v1/users/{user_id}", ["admin"], True),
        ("get", "/api/v1/auth/me", [], True),
        ("post", "/api/v1/auth/api-keys", [], False),
        ("post", "/api/v1/auth/mfa/step-up", [], False),
        ("get", "/ws", [], False),
    ],
)
def test_an_operation_tells_what_it_takes(
    document: dict[str, Any], method: str, path: str, token: list[str], takes_keys: bool
) -> None:
    operation = document["paths"][path][method]
    security = operation.get("security", document["security"])
    assert security[0] == {"accessToken": token}
    assert security[1:] == ([dict.fromkeys(KEY, token)] if takes_keys else [])
    for scope in token:
        assert f"Takes the scope `{scope}`." in operation["description"]
    assert "x-permission" not in operation
    schemes = document["components"]["securitySchemes"]
    assert {schemes[name]["name"] for name in KEY} == {"X-API-Key", "X-Timestamp", "X-Signature"}


def test_what_is_open_takes_nothing(document: dict[str, Any]) -> None:
    is_open = {
        path for path, methods in document["paths"].items() for one in methods.values() if one.get("security") == []
    }
    assert {"/api/v1/auth/login", "/api/v1/auth/register", "/health/live"} <= is_open
    assert all(path.startswith(("/api/v1/auth/", "/health/")) for path in is_open)


def test_links_lead_from_what_is_made_to_what_can_be_done_with_it(document: dict[str, Any]) -> None:
    operations = {
        operation["operationId"]: (f"{method} {path}", operation, path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if "operationId" in operation
    }
    found: dict[str, set[str]] = {}
    for name, operation, _ in operations.values():
        for link in operation["responses"].get("201", {}).get("links", {}).values():
            target, following, path = operations[link["operationId"]]
            found.setdefault(name, set()).add(target)
            if "parameters" in link:
                assert {parameter["name"] for parameter in following["parameters"]} >= set(link["parameters"])
                assert all(f"{{{parameter}}}" in path for parameter in link["parameters"])
            else:
                (media,) = following["requestBody"]["content"].values()
                schema = document["components"]["schemas"][media["schema"]["$ref"].rpartition("/")[2]]
                assert set(link["requestBody"]) <= set(schema["properties"])
    assert set(found) == {
        f"post /api/v1/{made}" for made in ("orders", "accounts", "strategies", "deployments", "auth/api-keys")
    }
    assert {"get /api/v1/orders/{order_id}/events", "delete /api/v1/orders/{order_id}"} <= found["post /api/v1/orders"]
    assert "post /api/v1/deployments" in found["post /api/v1/strategies"]


def test_no_array_has_members_of_different_shapes(document: dict[str, Any]) -> None:
    """Of `prefixItems` what reads documents makes all sorts of things; levels of books are lists of two that are alike."""
    assert "prefixItems" not in json.dumps(document)
    for name in ("BookShown", "OrderBookShown"):
        levels = document["components"]["schemas"][name]["properties"]["bids"]["items"]
        assert (levels["minItems"], levels["maxItems"], levels["items"]["type"]) == (2, 2, "string")
