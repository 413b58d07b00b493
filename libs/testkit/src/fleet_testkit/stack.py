"""The real stack that tests run on: given URLs, containers where Docker answers, or the native stack of the checkout."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from fleet_launcher import stack as native
from fleet_launcher.places import SHARED
from fleet_launcher.stack import Endpoints

# Shared by all test sessions of the checkout and left running for the next one; `make test` ends it.
TEST_STATE = SHARED / "test"


@contextlib.contextmanager
def test_stack(state_dir: Path = TEST_STATE) -> Iterator[Endpoints]:
    """The stack of this test session."""
    given = [os.environ.get(f"FLEET_{name}_URL") for name in ("KAFKA", "POSTGRES", "REDIS")]
    if not all(given) and docker_answers():
        with containers() as endpoints:
            yield endpoints
    else:
        yield native.up(state_dir)


def docker_answers() -> bool:
    """Whether a Docker daemon is there to be used."""
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return False  # the client takes a second to find that out
    from testcontainers.core.docker_client import DockerClient

    # Each version of the Docker client and its transports has its own exceptions for "nobody is there".
    try:
        return bool(DockerClient().client.ping())
    except Exception:
        return False


@contextlib.contextmanager
def containers() -> Iterator[Endpoints]:
    """The three parts in containers that live as long as the session."""
    from testcontainers.kafka import KafkaContainer
    from testcontainers.postgres import PostgresContainer
    from testcontainers.redis import RedisContainer

    with contextlib.ExitStack() as running:
        kafka = running.enter_context(KafkaContainer("confluentinc/cp-kafka:8.1.0").with_kraft())
        postgres = running.enter_context(
            PostgresContainer("postgres:18", driver=None).with_command("postgres -c max_connections=400 -c fsync=off")
        )
        redis = running.enter_context(RedisContainer("valkey/valkey:9"))
        host, port = redis.get_container_host_ip(), redis.get_exposed_port(6379)
        yield Endpoints(
            kafka_url=kafka.get_bootstrap_server(),
            postgres_url=postgres.get_connection_url(),
            redis_url=f"redis://{host}:{port}/0",
        )
