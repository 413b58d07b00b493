"""Runs an ASGI application on a free port of 127.0.0.1 for as long as a test needs it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import uvicorn


@contextlib.asynccontextmanager
async def served(app: Any, **options: Any) -> AsyncIterator[str]:
    """Yields the base URL of the running application, its lifespan started; stops it afterwards.

    `options` are further ones of uvicorn.Config. As in a service, nobody's X-Forwarded-For is believed by the server."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            app, log_config=None, lifespan="on", timeout_graceful_shutdown=5, proxy_headers=False, **options
        )
        server = uvicorn.Server(config)
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
            server.should_exit = True
            await task
