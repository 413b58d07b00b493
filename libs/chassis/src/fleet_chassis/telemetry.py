"""Traces, exported when OTEL_EXPORTER_OTLP_ENDPOINT is set. When it is not, the SDK is not even imported."""

import os
from functools import cache

from fastapi import FastAPI

from .settings import ServiceSettings

_NOT_TRACED = "/health/,/metrics$,/internal/rest"


@cache
def is_traced() -> bool:
    """Whether traces are exported."""
    return bool(os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))


def instrument(app: FastAPI, settings: ServiceSettings) -> None:
    """Opens a span for each request of the application."""
    if not is_traced():
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
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
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=provider, excluded_urls=_NOT_TRACED, exclude_spans=["receive", "send"]
    )


def traceparent() -> str | None:
    """The W3C traceparent of the span we are in, to be sent along; None when nothing is traced."""
    if not is_traced():
        return None
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent")
