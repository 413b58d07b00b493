"""auth's composition root."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI
from fleet_bus import Bus
from fleet_chassis.app import new_app
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.ids import SystemIds
from fleet_chassis.internal import internal_router

from .api import internal, router
from .consumers import FORGET_REVOKED_SESSIONS
from .mfa.api import router as mfa_router
from .parts import Auth
from .passwords import Passwords
from .people.api import router as people
from .sealing import Sealer
from .settings import AuthSettings
from .tokens import load_signing_keys


def create_app(settings: AuthSettings, *, clock: Clock | None = None) -> FastAPI:
    """The application; its lifespan opens the database, makes or loads the signing key, and starts the bus."""
    health = Health()
    database = Database(
        settings.database_url,
        application_name=f"{settings.service}-{settings.ordinal}",
        max_size=settings.database_connections,
    )
    bus = Bus(settings, database, clock=clock)
    bus.add(FORGET_REVOKED_SESSIONS)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(database)
            passwords = Passwords(settings)
            stack.callback(passwords.close)
            sealer = Sealer(settings.auth_field_keys_file, settings.private_key_file)
            async with database.transaction() as connection:
                keys = await load_signing_keys(connection, sealer, bus.clock.now())
            app.state.auth = Auth(
                bus=bus, passwords=passwords, sealer=sealer, settings=settings, ids=SystemIds(), keys=keys
            )
            await stack.enter_async_context(bus.running(health))
            yield

    health.check("database", database.check)
    app = new_app(settings, "Tradefleet auth", lifespan, health)
    for routes in (router, mfa_router, people, internal):
        app.include_router(routes)
    app.include_router(internal_router(bus))
    return app
