"""Runs an ASGI application on a free port of 127.0.0.1 for as long as a test needs it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from fleet_chassis.server import KEEP_ALIVE_S

from fleet_testkit.eventually import eventually

_GRACE_S = 5


@contextlib.asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[str]:
    """Yields the base URL of the running application, its lifespan started; stops it afterwards.

    `options` are further ones of uvicorn.Config. As in a service, nobody's X-Forwarded-For is believed by the server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        # As long as a service keeps it: on a busy machine a test may say nothing for uvicorn's own five seconds.
        settings = {"proxy_headers": False, "timeout_keep_alive": KEEP_ALIVE_S, **options}
        server = _PromptServer(uvicorn.Config(app, log_config=None, lifespan="on", **settings))
        server.config.load()
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                if task.done():
                    await task
                    raise RuntimeError("the application did not start; its lifespan failed")
                await asyncio.sleep(0.005)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.asked_to_stop.set()
            await task


class _PromptServer(uvicorn.Server):
    """uvicorn looks ten times a second whether it is to stop, and then gives everybody a tenth of a second: a test has
    many servers, and they would be most of its time. A signal is seen within a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.asked_to_stop = asyncio.Event()

    async def main_loop(self) -> None:
        while not (self.asked_to_stop.is_set() or await self.on_tick(0)):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.asked_to_stop.wait(), 1)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(AssertionError):
            await eventually(lambda: not (state.connections or state.tasks), _GRACE_S)
        for task in state.tasks:
            task.cancel()
        await self.lifespan.shutdown()
