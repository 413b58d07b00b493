"""What an operator knows of addresses beforehand: lists of networks in files, read again when they change."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from fleet_chassis.files import WatchedFile

from .domain import Standing

IPV6_PREFIX = 64
"""An IPv6 address is told and counted as its /64: who has one has all of it."""

Networks = Mapping[int, frozenset[IPv4Network | IPv6Network]]
"""By the length of their prefixes, so that a look-up costs the same however long a list is."""


class NetworkLists:
    """The reputation that an operator gives in files: a network or address a line; what follows # is a remark. What is on
    both lists is allowed.

    Raises OSError and ValueError for lists that cannot be read at the start; later the last good ones stay.
    """

    def __init__(self, *, allowed: Path | None = None, denied: Path | None = None) -> None:
        files = ((Standing.ALLOWED, allowed), (Standing.DENIED, denied))
        self._lists = [(standing, WatchedFile(path, parse_networks)) for standing, path in files if path is not None]
        for _, listed in self._lists:
            listed.get()

    def standing(self, address: str) -> Standing:
        """Of an address as the gateway tells it: IPv4, or the /64 of an IPv6."""
        network = ip_network(address)
        for standing, listed in self._lists:
            if _is_within(network, listed.get()):
                return standing
        return Standing.UNKNOWN


def _is_within(network: IPv4Network | IPv6Network, listed: Networks) -> bool:
    return any(
        network.supernet(new_prefix=prefix) in networks
        for prefix, networks in listed.items()
        if prefix <= network.prefixlen
    )


def parse_networks(content: bytes) -> Networks:
    """Raises ValueError for a line that is no network, or a part of a /64."""
    networks: dict[int, set[IPv4Network | IPv6Network]] = {}
    for line in content.decode().splitlines():
        text = line.partition("#")[0].strip()
        if text:
            network = ip_network(text)
            if network.version == 6 and network.prefixlen > IPV6_PREFIX:
                raise ValueError(f"IPv6 is listed by /{IPV6_PREFIX} or wider, was {network}")
            networks.setdefault(network.prefixlen, set()).add(network)
    return {prefix: frozenset(of_prefix) for prefix, of_prefix in networks.items()}
