"""auth's composition root."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from fastapi import FastAPI
from fleet_bus import Bus
from fleet_chassis.app import new_app
from fleet_chassis.background import Background
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.ids import SystemIds
from fleet_chassis.internal import internal_router

from .api import internal, router
from .api_keys.api import internal as api_keys_internal
from .api_keys.api import router as api_keys
from .audit.api import router as audit
from .audit.consumers import ACTS, begin_signing, sign_each_day
from .confirmations.api import router as confirmations
from .confirmations.consumers import send_confirmations
from .consumers import FORGET_REVOKED_SESSIONS
from .guessing.service import defence_of
from .mail import mailer_of
from .mfa.api import router as mfa_router
from .notices.consumers import send_notices
from .parts import Auth
from .passwords import Passwords
from .people.api import router as people
from .sealing import Sealer, own_key
from .sessions.api import router as sessions
from .settings import AuthSettings
from .signing import KeyRing


def create_app(settings: AuthSettings, *, clock: Clock | None = None) -> FastAPI:
    """The application; its lifespan opens the database, makes or loads the signing key, and starts the bus."""
    health = Health()
    defence = defence_of(settings)
    database = Database(
        settings.database_url,
        application_name=f"{settings.service}-{settings.ordinal}",
        max_size=settings.database_connections,
    )
    bus = Bus(settings, database, clock=clock)
    bus.add(FORGET_REVOKED_SESSIONS)
    bus.add(ACTS)
    key = own_key(settings.private_key_file)
    bus.add(sign_each_day(key))
    if settings.auth_mail is not None:
        mailer = mailer_of(settings.auth_mail.get_secret_value(), settings.auth_mail_from)
        bus.add(send_confirmations(mailer, settings.auth_public_url))
        bus.add(send_notices(mailer, settings.auth_public_url))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(database)
            passwords = Passwords(settings)
            stack.callback(passwords.close)
            sealer = Sealer(settings.auth_field_keys_file, settings.private_key_file)
            keys = KeyRing(
                database,
                sealer,
                bus.clock,
                rotate_after=timedelta(days=settings.auth_signing_key_days),
                tokens_live=timedelta(seconds=settings.auth_access_token_s),
            )
            await keys.load()
            app.state.auth = Auth(
                bus=bus,
                passwords=passwords,
                defence=defence,
                sealer=sealer,
                settings=settings,
                ids=SystemIds(),
                keys=keys,
            )
            await stack.enter_async_context(bus.running(health))
            async with bus.transaction() as tx:
                begin_signing(tx)
            background = await stack.enter_async_context(Background(health))
            background.start("signing_keys", keys.run())
            yield

    health.check("database", database.check)
    app = new_app(settings, "Tradefleet auth", lifespan, health)
    for routes in (router, mfa_router, api_keys, people, confirmations, sessions, audit, internal, api_keys_internal):
        app.include_router(routes)
    app.include_router(internal_router(bus))
    return app
