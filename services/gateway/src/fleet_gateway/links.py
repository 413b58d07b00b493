"""Links of the API's document (OpenAPI 3.1, 4.8.20): what can be done next with what an answer has told."""

from collections.abc import Mapping
from typing import Any

_NEXT: dict[tuple[str, str], list[tuple[str, str]]] = {
    ("post", "/api/v1/orders"): [
        ("get", "/api/v1/orders/{order_id}"),
        ("get", "/api/v1/orders/{order_id}/events"),
        ("patch", "/api/v1/orders/{order_id}"),
        ("delete", "/api/v1/orders/{order_id}"),
        ("get", "/api/v1/executions/{order_id}"),
    ],
    ("post", "/api/v1/accounts"): [
        ("get", "/api/v1/accounts/{account_id}/ledger"),
        ("get", "/api/v1/accounts/{account_id}/balances"),
        ("post", "/api/v1/accounts/{account_id}/reset"),
    ],
    ("post", "/api/v1/strategies"): [
        ("get", "/api/v1/strategies/{strategy_id}"),
        ("patch", "/api/v1/strategies/{strategy_id}"),
        ("post", "/api/v1/deployments"),
        ("delete", "/api/v1/strategies/{strategy_id}"),
    ],
    ("post", "/api/v1/deployments"): [
        ("get", "/api/v1/deployments/{deployment_id}"),
        ("post", "/api/v1/deployments/{deployment_id}/{action}"),
    ],
    ("post", "/api/v1/auth/api-keys"): [("delete", "/api/v1/auth/api-keys/{api_key_id}")],
}
"""Operations by what makes the thing that they are about. An id that is not in the path goes into the body."""


def add_links(paths: Mapping[str, Any]) -> None:
    """To the answers that tell of something new, as far as both ends are in the document."""
    for (method, path), following in _NEXT.items():
        operation = paths.get(path, {}).get(method)
        if operation is None:
            continue
        # The thing that is made is named by the first that follows.
        told = following[0][1].partition("{")[2].partition("}")[0]
        links = {
            other["operationId"]: _link(other["operationId"], told, is_in_path=f"{{{told}}}" in target)
            for name, target in following
            if (other := paths.get(target, {}).get(name)) is not None
        }
        operation["responses"]["201"]["links"] = links


def _link(operation_id: str, told: str, *, is_in_path: bool) -> dict[str, Any]:
    value = {told: f"$response.body#/{told}"}
    return {"operationId": operation_id, "parameters" if is_in_path else "requestBody": value}
