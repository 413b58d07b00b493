"""Where the processes of the fleet are: the launcher's list, read again when it changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from .files import WatchedFile


class Instance(msgspec.Struct, frozen=True):
    """One process of a service; `url` is `http://host:port`."""

    name: str
    ordinal: int
    url: str


class _Listing(msgspec.Struct):
    instances: list[Instance]


class Instances:
    """The processes of each service, by ordinal."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, _parse)

    def of(self, service: str) -> Sequence[Instance]:
        """The service's processes in the order of their ordinals; empty when there are none."""
        return self._services().get(service, ())

    def all(self) -> list[Instance]:
        """Every process of the fleet."""
        return [instance for of_service in self._services().values() for instance in of_service]

    def _services(self) -> Mapping[str, Sequence[Instance]]:
        try:
            return self._file.get()
        except FileNotFoundError:
            # Nobody has been started yet, or Kubernetes has not mounted it: nobody is there.
            return {}


def _parse(content: bytes) -> Mapping[str, Sequence[Instance]]:
    services: dict[str, list[Instance]] = {}
    for instance in sorted(msgspec.json.decode(content, type=_Listing).instances, key=lambda item: item.ordinal):
        services.setdefault(instance.name, []).append(instance)
    return services
