"""Every route of every service declares what it takes, and the gateway's rows are at one with them."""

import pytest
from fleet_auth.domain import SCOPES
from fleet_chassis.permissions import LOGIN, RoutePermission
from fleet_gateway.routes import PUBLIC, find
from fleet_routes import PUBLIC_ROUTES, ROUTES


def test_no_route_is_without_a_permission() -> None:
    assert len(ROUTES) > 80
    assert [route for _, route in ROUTES if route.permission is None] == []


def test_only_auth_takes_every_user_and_only_internal_routes_take_services() -> None:
    for service, route in ROUTES:
        is_internal = route.path.startswith("/internal/")
        is_before_login = route.path.encode() in PUBLIC
        assert (route.permission or "").startswith("services: ") == (is_internal or is_before_login), route
        if route.permission in ("any user", LOGIN):
            assert service == "auth", route


def test_an_api_key_does_with_its_user_no_more_than_tell_who_he_is_and_open_sockets() -> None:
    paths = [route.path for _, route in ROUTES if route.permission == "any user"]
    assert paths == ["/api/v1/auth/me", "/api/v1/auth/ws-tickets"]


@pytest.mark.parametrize(("service", "route"), PUBLIC_ROUTES, ids=lambda value: str(getattr(value, "path", value)))
def test_the_gateway_forwards_a_route_to_its_service_for_all_who_may(service: str, route: RoutePermission) -> None:
    row = find(route.path.encode())
    assert row is not None
    assert row.service == service
    asked = row.scope_for(route.method)
    for role, scopes in SCOPES.items():
        if asked is not None and route.permission in scopes:
            assert asked in scopes, f"{role} is stopped at the gateway"
