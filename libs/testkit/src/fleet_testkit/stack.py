"""The real stack that tests run on: the native stack of the checkout, or what FLEET_TEST_STACK asks for instead."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from fleet_launcher import stack as native
from fleet_launcher.places import SHARED
from fleet_launcher.stack import Endpoints

# Shared by all test sessions of the checkout and left running for the next one; `make test` ends it.
TEST_STATE = SHARED / "test"


@contextlib.contextmanager
def test_stack(state_dir: Path = TEST_STATE, environment: Mapping[str, str] = os.environ) -> Iterator[Endpoints]:
    """The stack of this test session.

    `given` takes FLEET_KAFKA_URL, FLEET_POSTGRES_URL and FLEET_REDIS_URL, and starts what they do not name. It is asked
    for by name, since these may be a fleet's, and tests make users, topics and databases there.
    """
    match asked := environment.get("FLEET_TEST_STACK", "native"):
        case "native":
            yield native.up(state_dir)
        case "given":
            yield native.up(state_dir, environment=environment)
        case "containers":
            with containers() as endpoints:
                yield endpoints
        case _:
            raise ValueError(f"FLEET_TEST_STACK is native, given or containers, was {asked}")


@contextlib.contextmanager
def containers() -> Iterator[Endpoints]:
    """The three parts in containers that live as long as the session; their Kafka asks nobody who he is."""
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
