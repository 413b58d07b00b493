"""A short way to the routes that take most requests: FastAPI's routing and dependencies cost more than an order.

The routes stay registered, so that OpenAPI and the metrics know them; this only finds them sooner."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class HotPaths:
    """Calls the endpoints, which take the request and nothing else. What they raise, the layer around it renders."""

    def __init__(self, app: ASGIApp, *, routes: dict[str, APIRoute]) -> None:
        self._app = app
        self._posts: dict[str, tuple[APIRoute, Endpoint]] = {
            path: (route, route.endpoint) for path, route in routes.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hot = self._posts.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if hot is None:
            await self._app(scope, receive, send)
            return
        scope["route"], endpoint = hot
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)


def add_hot_paths(app: FastAPI, routes: list[BaseRoute]) -> None:
    """For the POST routes among these whose path holds no parameter. The innermost layer: all others still apply."""
    posts = {
        route.path: route
        for route in routes
        if isinstance(route, APIRoute) and route.methods == {"POST"} and "{" not in route.path
    }
    app.user_middleware.append(Middleware(HotPaths, routes=posts))
