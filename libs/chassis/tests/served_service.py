"""A service as a process, for test_server.py: it dies, fails or serves as the environment says."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fleet_chassis.app import new_app
from fleet_chassis.background import Background
from fleet_chassis.health import Health
from fleet_chassis.server import serve
from fleet_chassis.settings import ServiceSettings

WAY = os.environ.get("WAY", "serves")


def create_app(settings: ServiceSettings) -> FastAPI:
    health = Health()
    may_die = asyncio.Event()

    async def work() -> None:
        await may_die.wait()
        raise RuntimeError("the relay is broken")

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if WAY == "fails":
            raise RuntimeError("no database")
        async with Background(health) as background:
            background.start("relay", work())
            yield
        print('{"event": "drained"}', flush=True)  # noqa: T201

    app = new_app(settings, "Trading", lifespan, health)

    @app.get("/slow")
    async def slow() -> dict[str, bool]:
        if "BEGUN" in os.environ:
            Path(os.environ["BEGUN"]).touch()  # noqa: ASYNC240
            # Outlasts the signal that the test sends now.
            await asyncio.sleep(0.3)
        return {"done": True}

    @app.post("/die")
    async def die() -> None:
        may_die.set()

    @app.get("/modules")
    async def modules() -> list[str]:
        return sorted(sys.modules)

    return app


if __name__ == "__main__":
    serve(create_app, ServiceSettings)
