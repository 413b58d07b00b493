"""Free TCP ports on 127.0.0.1, kept over restarts of a fleet."""

from __future__ import annotations

import random
import socket

import psutil

from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import StateDir

HOST = "127.0.0.1"
# Below the kernel's ephemeral range (32768 and up), so that no outgoing connection takes a port that we kept.
_RANGE = range(20_000, 32_000)


def is_free(port: int, host: str = HOST) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def kept_ports(state: StateDir, names: list[str], *, fresh: bool = False) -> dict[str, int]:
    """A free port for each name: the one of last time when nobody took it. `fresh` throws the old ones away."""
    kept = {} if fresh else state.kept("ports.json")
    others = {port for name, port in state.kept("ports.json").items() if name not in names}
    chosen: dict[str, int] = {}
    for name in names:
        port = kept.get(name)
        if not isinstance(port, int) or not is_free(port):
            port = _free_port(others | set(chosen.values()))
        chosen[name] = port
    state.keep("ports.json", {**state.kept("ports.json"), **chosen})
    return chosen


def _free_port(taken: set[object]) -> int:
    for port in random.SystemRandom().sample(_RANGE, 500):
        if port not in taken and is_free(port):
            return port
    raise LaunchFailure("No free TCP port was found between 20000 and 32000", "Stop what listens there")


def require_free(port: int, remedy: str) -> None:
    """Say who has a port that must be free."""
    if not is_free(port):
        raise LaunchFailure(f"Port {port} is in use{_owner(port)}", remedy)


def _owner(port: int) -> str:
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return ""
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
            try:
                return f" by {psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.NoSuchProcess:
                return ""
    return ""
