"""Prometheus metrics of HTTP, by route template, never by path: labels hold no data of users and stay few."""

from time import perf_counter

from prometheus_client import CONTENT_TYPE_LATEST, Histogram, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

_PLAIN_PATHS = frozenset({"/health/live", "/health/ready", "/metrics"})
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})

_REQUESTS = Histogram(
    "fleet_http_request_seconds",
    "Time from the request's head to the end of its answer; the count of the series is the count of requests.",
    ("method", "route", "status"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_series: dict[tuple[str, str, int], Histogram] = {}


def observe_request(scope: Scope, status: int, started: float) -> None:
    """Counts one request that began at `started` (perf_counter) and was answered with `status`."""
    path = scope["path"]
    route = path if path in _PLAIN_PATHS else getattr(scope.get("route"), "path_format", "unmatched")
    method = scope["method"]
    key = (method if method in _METHODS else "other", route, status)
    series = _series.get(key)
    if series is None:
        series = _series[key] = _REQUESTS.labels(*key)
    series.observe(perf_counter() - started)


def metrics_route() -> BaseRoute:
    """`/metrics`, open to everybody who reaches the service; the gateway does not forward it."""

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Route("/metrics", metrics)
