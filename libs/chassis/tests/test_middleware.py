"""The outermost layer, by itself."""

import gc
import weakref

from fleet_chassis.middleware import RequestMiddleware
from fleet_chassis.problems import Problem
from starlette.types import Message, Receive, Scope, Send


async def test_a_refusal_is_freed_with_its_request() -> None:
    """Refused are thousands a second where too much is asked: they must not wait for the collector of cycles."""
    made: list[weakref.ref[Problem]] = []
    said: list[Message] = []

    def refusal() -> Problem:
        problem = Problem(503, "order_path_slow", "Try again.")
        made.append(weakref.ref(problem))
        return problem

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        raise refusal()

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        said.append(message)

    app = RequestMiddleware(refuse, body_limit_bytes=100)
    scope = {"type": "http", "method": "POST", "path": "/api/v1/orders", "raw_path": b"/api/v1/orders", "headers": []}
    gc.disable()
    try:
        await app(scope, receive, send)
        assert said[0]["status"] == 503
        assert made[0]() is None
    finally:
        gc.enable()
