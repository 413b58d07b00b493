"""A trace crosses Kafka: from the span that publishes to the row, the header, the span that handles it, and on from there."""

from typing import Any

import pytest
from counting_service import NUMBERS, PASSED_ON, Effects, number, record, work
from fleet_bus import Received, Watch, tracing
from fleet_contracts.core_engine import SignalAccepted
from fleet_testkit.eventually import eventually
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

SENT_IN = trace.SpanContext(trace_id=7, span_id=9, is_remote=False, trace_flags=trace.TraceFlags(1))


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What is traced. The provider of a process can be set only once, so the bus alone is given this one."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    return exporter


async def test_a_trace_goes_from_the_publisher_over_each_hop_to_the_last_handler(
    make_service: Any, spans: InMemorySpanExporter
) -> None:
    """writer -> reader -> last, beside a message that nobody traced."""
    writer, reader, last = [await make_service(name) for name in ("writer", "reader", "last")]
    heard: dict[int, str | None] = {}

    async def pass_on(uow: Effects, received: Received[SignalAccepted]) -> None:
        await record(uow, received)
        uow.tx.publish(PASSED_ON, received.key, received.message)

    def hear(received: Received[SignalAccepted]) -> None:
        heard[received.message.signal_id.int] = received.traceparent

    reader.bus.add(work(pass_on))
    reader.bus.add(Watch("heard", (NUMBERS,), hear))
    last.bus.add(work(topic=PASSED_ON))

    async with writer.bus.transaction() as tx:
        with trace.use_span(trace.NonRecordingSpan(SENT_IN)):
            tx.publish(NUMBERS, "a", number(1))
        tx.publish(NUMBERS, "b", number(2))
    async with writer.database.connection() as connection:
        rows = await connection.fetch("SELECT traceparent FROM outbox ORDER BY id")
    sent = f"00-{7:032x}-{9:016x}-01"
    assert [row["traceparent"] for row in rows] == [sent, None]

    async with reader.running(), last.running():
        await eventually(lambda: reader.bus.ready() is None, timeout_s=20)
        async with writer.running():
            await eventually(lambda: _count(last, 2), timeout_s=20)
            await eventually(lambda: len(heard) == 2)
    assert heard == {1: sent, 2: None}

    found = {span.name: span for span in spans.get_finished_spans()}
    assert len(found) == len(spans.get_finished_spans()), "nothing is traced twice, and nothing of what was not"
    first, second = found["reader.numbers SignalAccepted"], found["last.numbers SignalAccepted"]
    assert first.kind is second.kind is trace.SpanKind.CONSUMER
    assert _parent(first) == (7, 9)
    assert _parent(second) == (7, first.context and first.context.span_id)


def _parent(span: ReadableSpan) -> tuple[int, int]:
    assert span.parent is not None
    return span.parent.trace_id, span.parent.span_id


async def _count(service: Any, wanted: int) -> bool:
    return len(await service.effects()) >= wanted
