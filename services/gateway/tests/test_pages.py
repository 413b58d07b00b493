"""What the gateway itself shows: the interface's document, the pages, its health."""

from typing import Any


async def test_one_document_tells_every_interface(fleet: Any) -> None:
    reply = await fleet.call("GET", "/api/v1/openapi.json")
    assert reply.status == 200
    paths = reply.body["paths"]
    assert {"/api/v1/auth/register", "/ws", "/health/ready"} <= set(paths)
    assert not [path for path in paths if "internal" in path]
    assert paths["/api/v1/auth/login"]["post"]["security"] == []
    assert "security" not in paths["/api/v1/auth/me"]["get"]
    assert set(reply.body["x-services"]) == {"auth", *fleet.services}
    assert reply.body["x-unavailable"] == []
    tags = {tag for operations in paths.values() for operation in operations.values() for tag in operation["tags"]}
    assert tags <= {tag["name"] for tag in reply.body["tags"]}
    body = paths["/api/v1/auth/login"]["post"]["requestBody"]["content"]["application/json"]
    assert body["example"]["email"] == "ada@example.com"


async def test_pages_come_from_here_alone(fleet: Any) -> None:
    for path, media_type in (
        ("/", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/assets/swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("/assets/landing.js", "text/javascript; charset=utf-8"),
        ("/assets/swagger-ui.css", "text/css; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ):
        reply = await fleet.call("GET", path)
        assert (reply.status, reply.headers["Content-Type"]) == (200, media_type)
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        again = await fleet.call("GET", path, headers={"If-None-Match": reply.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
        if "html" in media_type:
            assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
            assert b'src="http' not in reply.body
            assert b'href="http' not in reply.body
    head = await fleet.call("HEAD", "/docs")
    assert (head.status, head.body) == (200, b"")


async def test_health(fleet: Any) -> None:
    live = await fleet.call("GET", "/health/live")
    assert (live.status, live.body["live"]) == (200, True)
    ready = await fleet.call("GET", "/health/ready")
    assert ready.body == {"ready": True, "checks": {"access_token_keys": "ok", "rate_limits": "ok", "bus": "ok"}}
