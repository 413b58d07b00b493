"""How a fleet is to be started."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from fleet_launcher.failure import LaunchFailure
from fleet_launcher.services import SERVICES

Feed = Literal["simulated", "replay"]
# What a supervisor tells while it starts: {"event": "part", "name", "seconds"}, {"event": "line", "text"},
# {"event": "ready", "seconds"} or {"event": "failed", "problem", "remedy"}.
Event = dict[str, Any]
LARGEST_REPLICAS = 8


@dataclass(frozen=True)
class FleetOptions:
    """`port_offset` is added to the gateway's 8000; `replicas` names the services that run more than once."""

    state_dir: Path
    feed: Feed = "simulated"
    port_offset: int = 0
    replicas: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {service.name for service in SERVICES}
        for name, count in self.replicas.items():
            if name not in known:
                raise LaunchFailure(f"There is no service {name}", f"The services are {', '.join(sorted(known))}")
            if not 1 <= count <= LARGEST_REPLICAS:
                raise LaunchFailure(
                    f"{count} replicas of {name} cannot be run", f"Between 1 and {LARGEST_REPLICAS} can, e.g. {name}=2"
                )
        if not 0 <= self.port_offset <= 50_000:
            raise LaunchFailure(f"A port offset of {self.port_offset} is out of range", "It is between 0 and 50000")

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "state_dir": str(self.state_dir), "replicas": dict(self.replicas)})

    @classmethod
    def from_json(cls, text: str) -> FleetOptions:
        content = json.loads(text)
        return cls(**{**content, "state_dir": Path(content["state_dir"])})


def parse_replicas(words: list[str]) -> dict[str, int]:
    """`["trading=2"]` → {"trading": 2}."""
    replicas = {}
    for word in words:
        name, _, count = word.partition("=")
        if not count.isdigit():
            raise LaunchFailure(f"{word!r} does not say how many replicas", "Write it as trading=2")
        replicas[name] = int(count)
    return replicas
