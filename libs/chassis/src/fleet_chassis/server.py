"""Runs a service as a process: uvicorn on uvloop, drained on SIGTERM, ended by the death of a background task."""

import gc
import signal
import sys
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, TypeVar

import uvicorn
from pydantic import ValidationError
from starlette.types import ASGIApp

from .health import Health
from .http_protocol import OneWriteProtocol
from .logging import configure_logging, get_logger
from .settings import ServiceSettings

DRAIN_TIMEOUT_S = 10
KEEP_ALIVE_S = 75
"""Longer than callers keep idle connections, so that it is never we who close one that is being used."""

EXIT_BACKGROUND_DIED = 70
EXIT_STARTUP_FAILED = 3

S = TypeVar("S", bound=ServiceSettings)
A = TypeVar("A", bound=ASGIApp)


def serve(
    create_app: Callable[[S], A],
    settings_class: type[S],
    options_of: Callable[[A], Mapping[str, Any]] = lambda _app: {},
) -> None:
    """Reads the settings, serves the application until SIGTERM or SIGINT, and exits the process.

    Exit code 0 when asked to stop, 1 when a setting is wrong (a line each on stderr), 3 when the lifespan failed to start,
    70 when a background task died. The health is taken from `app.state.health`. `options_of` are further ones of
    uvicorn.Config for the application, as the gateway's protocols.
    """
    try:
        settings = settings_class()  # type: ignore[call-arg]  # pydantic-settings fills it from the environment
    except ValidationError as error:
        sys.exit("\n".join(f"error: {_name_of(each['loc'])}: {each['msg']}" for each in error.errors()))
    configure_logging(settings.log_level, service=settings.service, ordinal=settings.ordinal)
    app = create_app(settings)
    health: Health = app.state.health  # type: ignore[attr-defined]
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            # uvicorn would believe X-Forwarded-For of anybody on this machine.
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
            backlog=2048,
            **{"http": OneWriteProtocol, **options_of(app)},
        )
    )

    def stop(_signal: int = 0, _frame: FrameType | None = None) -> None:
        server.should_exit = True

    health.on_death(stop)
    # uvicorn raises the signal again once it has drained; ours then turns it into exit code 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _calm_garbage_collector()
    server.run()
    if health.dead:
        get_logger(__name__).error("stopped_by_dead_background_task", dead=health.dead)
        sys.exit(EXIT_BACKGROUND_DIED)
    sys.exit(0 if server.started else EXIT_STARTUP_FAILED)


def _name_of(field: tuple[int | str, ...]) -> str:
    return f"FLEET_{field[0]}".upper() if field else "settings"


def _calm_garbage_collector() -> None:
    """What start-up made lives as long as the process and is never looked at again; the rest is looked at less often.

    Nearly everything dies by its reference count. With Python's own thresholds a tenth of the CPU of an order goes
    into looking for cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
