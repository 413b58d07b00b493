"""Traces, exported when OTEL_EXPORTER_OTLP_ENDPOINT is set. When it is not, the SDK is not even imported."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.types import ASGIApp

from .settings import ServiceSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_NOT_TRACED = "/health/,/metrics$,/internal/rest"


@cache
def is_traced() -> bool:
    """Whether traces are exported."""
    return bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


def instrument(app: FastAPI, settings: ServiceSettings) -> None:
    """Opens a span for each request of the application."""
    if not is_traced():
        return
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=_exporting(settings), excluded_urls=_NOT_TRACED, exclude_spans=["receive", "send"]
    )


def instrumented(app: ASGIApp, settings: ServiceSettings) -> ASGIApp:
    """A plain ASGI application that opens a span for each request."""
    if not is_traced():
        return app
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.util.http import parse_excluded_urls

    traced: ASGIApp = OpenTelemetryMiddleware(
        app,
        tracer_provider=_exporting(settings),
        excluded_urls=parse_excluded_urls(_NOT_TRACED),
        exclude_spans=["receive", "send"],
    )
    return traced


def _exporting(settings: ServiceSettings) -> TracerProvider:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": settings.service, "service.instance.id": f"{settings.service}-{settings.ordinal}"}
        )
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider


def traceparent() -> str | None:
    """The W3C traceparent of the span we are in, to be sent along; None when nothing is traced."""
    if not is_traced():
        return None
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent")
