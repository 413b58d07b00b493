"""Trace context through Kafka headers (W3C traceparent); costs nothing while nothing is traced."""

import contextlib
from collections.abc import Iterator
from contextvars import Context

from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("fleet_bus")
_NOTHING = context.Context()


def current_traceparent() -> str | None:
    """The traceparent of the span we are in, or None."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


@contextlib.contextmanager
def handling(name: str, traceparent: str | None) -> Iterator[None]:
    """A span for the handling of a record, child of the span that sent it."""
    if traceparent is None:
        yield
        return
    token = context.attach(_propagator.extract({"traceparent": traceparent}))
    try:
        with _tracer.start_as_current_span(name, kind=trace.SpanKind.CONSUMER):
            yield
    finally:
        context.detach(token)


def continue_trace(caller: Context | None) -> None:
    """What this task does from now on belongs to the span that the caller was in; to none without a caller."""
    found = _NOTHING if caller is None else caller.run(context.get_current)
    if found or context.get_current():
        context.attach(found)
