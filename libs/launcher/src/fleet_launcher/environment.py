"""What the launcher tells a service through its environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from fleet_launcher.databases import database_url
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import StateDir
from fleet_launcher.ports import HOST
from fleet_launcher.services import SERVICES, Service
from fleet_launcher.stack import Endpoints

# Credentials of one part for everybody, and of the user at the shell: a service is given only its own.
_NOT_PASSED_ON = ("FLEET_POSTGRES_URL", "FLEET_REDIS_URL", "FLEET_DATABASE_URL", "FLEET_EMAIL", "FLEET_PASSWORD")

# Where a fleet uses servers that are not its own.
_GIVEN = ("FLEET_KAFKA_URL", "FLEET_POSTGRES_URL", "FLEET_REDIS_URL", "FLEET_TOPIC_PREFIX")


@contextmanager
def own_parts() -> Iterator[list[str]]:
    """While the block runs no part is given by URL; yields the settings that are set aside for that long.

    For fleets that are made to be thrown away: what the shell names belongs to another, whose data a reset would delete.
    """
    set_aside = {name: os.environ.pop(name) for name in _GIVEN if name in os.environ}
    try:
        yield list(set_aside)
    finally:
        os.environ.update(set_aside)


def service_environment(
    state: StateDir,
    endpoints: Endpoints,
    service: Service,
    *,
    feed: str,
    ordinal: int = 0,
    port: int = 0,
    caller: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The caller's own environment (FLEET_TRADING_SEND_BY_S=10 reaches trading, and only it), and what only we know."""
    of_others = tuple(other.settings_prefix for other in SERVICES if other.name != service.name)
    environment = {
        name: value for name, value in caller.items() if name not in _NOT_PASSED_ON and not name.startswith(of_others)
    }
    environment |= {
        "FLEET_SERVICE": service.name,
        "FLEET_ORDINAL": str(ordinal),
        "FLEET_HOST": HOST,
        "FLEET_PORT": str(port),
        "FLEET_KAFKA_URL": kafka_url(state, endpoints, service.name, topic_prefix(caller)),
        "FLEET_FEED": feed,
        "FLEET_INSTANCES": str(state.instances_json),
        "FLEET_PRIVATE_KEY_FILE": str(state.private_key(service.name)),
        "FLEET_PUBLIC_KEYS_FILE": str(state.public_keys),
        "FLEET_LOG_LEVEL": caller.get("FLEET_LOG_LEVEL", "info"),
        "PYTHONUNBUFFERED": "1",
    }
    if service.has_database:
        environment["FLEET_DATABASE_URL"] = service_database_url(state, endpoints, service)
    if service.name == "auth":
        environment["FLEET_AUTH_FIELD_KEYS_FILE"] = str(state.field_keys)
        # On one's own machine nobody waits for a mail; what is sent all the same `fleet mail` shows.
        environment.setdefault("FLEET_AUTH_MAIL", f"file:{state.mail}")
        environment.setdefault("FLEET_AUTH_EMAIL_VERIFICATION", "false")
        environment.setdefault("FLEET_AUTH_PASSWORD_MIN_LENGTH", "8")
    if service.uses_redis:
        environment["FLEET_REDIS_URL"] = redis_url(state, endpoints, service)
    return environment


def topic_prefix(caller: Mapping[str, str] = os.environ) -> str:
    """What stands before each topic and group, where fleets share a broker that was given by URL."""
    return caller.get("FLEET_TOPIC_PREFIX", "")


def kafka_url(state: StateDir, endpoints: Endpoints, name: str, prefix: str) -> str:
    """Kafka's URL for a service, or `cli`, as its own user, wherever Kafka asks who one is."""
    from fleet_bus.address import KafkaAddress  # with all of the bus: a second, for commands that do not need it

    try:
        address = KafkaAddress.parse(endpoints.kafka_url)
    except ValueError as error:
        raise LaunchFailure(f"FLEET_KAFKA_URL is wrong: {error}", "See docs/operations.md") from error
    return str(address if address.user is None else address.of(prefix + name, state.secret(f"kafka {name}")))


def redis_url(state: StateDir, endpoints: Endpoints, service: Service) -> str:
    """Valkey's URL for a service, as its own user; a Redis given by URL is used as it was given."""
    parts = urlsplit(endpoints.redis_url)
    if parts.password != state.secret("valkey"):
        return endpoints.redis_url
    place = f"{service.name}:{state.secret(f'valkey {service.name}')}@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=place))


def service_database_url(state: StateDir, endpoints: Endpoints, service: Service) -> str:
    """The URL of the service's own database, as its own role."""
    return database_url(endpoints.postgres_url, service.name, state.secret(f"database {service.name}"))
