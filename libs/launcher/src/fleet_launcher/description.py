"""What the running stack tells the world: fleet.json for tools and tests (0600), instances.json for the services."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fleet_bus.address import KafkaAddress
from fleet_contracts.topics import TOPICS

from fleet_launcher.instance import Instance
from fleet_launcher.places import StateDir, write_private
from fleet_launcher.stack import Endpoints, Part


def write_description(
    state: StateDir,
    endpoints: Endpoints,
    parts: Sequence[Part],
    instances: Sequence[Instance],
    database_urls: Mapping[str, str],
) -> None:
    """Write fleet.json anew; `pid` is null for a part given by URL and for a process that is down.

    `gave_up` is true for one that died too often and stays down until `fleet restart`.
    """
    pids = {part.name: part.pid for part in parts}
    services: dict[str, Any] = {}
    for instance in instances:
        name = instance.service.name
        entry = services.setdefault(name, {"database_url": database_urls.get(name), "instances": []})
        entry["instances"].append(
            {
                "ordinal": instance.ordinal,
                "pid": instance.pid,
                "gave_up": instance.gave_up,
                "url": instance.url,
                "health_url": instance.health_url,
                "log": str(instance.log),
            }
        )
    content = {
        "gateway_url": next((i.url for i in instances if i.service.name == "gateway"), None),
        "kafka": {
            "bootstrap": KafkaAddress.parse(endpoints.kafka_url).servers,
            "url": endpoints.kafka_url,
            "pid": pids.get("kafka"),
        },
        "postgres": {"url": endpoints.postgres_url, "pid": pids.get("postgres")},
        "redis": {"url": endpoints.redis_url, "pid": pids.get("valkey")},
        "services": services,
        "topics": [
            {
                "name": topic.name,
                "partitions": topic.partitions,
                "key": topic.key,
                "types": [message.__name__ for message in topic.messages],
            }
            for topic in TOPICS
        ],
    }
    write_private(state.fleet_json, json.dumps(content, indent=1))


def write_instances(state: StateDir, instances: Sequence[Instance]) -> None:
    """Addresses do not change over restarts, so this is written once, before the first service starts."""
    content = {"instances": [{"name": i.service.name, "ordinal": i.ordinal, "url": i.url} for i in instances]}
    write_private(state.instances_json, json.dumps(content, indent=1), mode=0o644)
