"""A trace through a real Kafka: from the header of what was produced to the headers of the outputs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.fakes import FakeModel
from tests.integration.support.workers import RESULTS, Watcher, create
from worker.broker.tools.clients import open_producer
from worker.composition import broker
from worker.composition import pipeline as pipelines
from worker.composition import tracing as traces
from worker.observability import tracing
from worker.observability.metrics import WorkerTelemetry
from worker.rollout.router import SingleModel
from worker.settings import read

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = pytest.mark.kafka

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_a_trace_goes_from_the_producer_s_header_to_each_output(
    connection: Connection, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every output is in the producer's trace, below a span of ours, to which the forward pass is linked by their common parent."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "build_provider", lambda _version: provider)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    await create(connection, topic, num_partitions=1)
    settings = read({"bootstrap_servers": connection.bootstrap_servers, "input_topic": topic, "group_id": f"group-{topic}"})
    traced, telemetry = traces.build_tracing(), WorkerTelemetry()
    assert traced is not None
    model = FakeModel()
    models = SingleModel(traced.model(model))
    pipeline, _ = pipelines.build_pipeline(settings, model.tasks, models, broker.build_connection(settings), telemetry, traced)
    async with Watcher(connection, topic, num_expected=1) as watcher:
        working = asyncio.create_task(pipeline.run())
        async with open_producer(connection) as producer:
            header = ("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01".encode())
            await producer.send(topic, b'{"id":"id-0","text":"hello"}', key=b"0", partition=0, headers=(header,))
        await watcher.all_accounted()
        pipeline.drain()
        await working
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"infer", "publish"}
    ours = f"00-{TRACE_ID}-{spans['publish'].context.span_id:016x}-01".encode()
    parents = {output: dict(record.headers)["traceparent"] for output, record in watcher.records}
    assert parents == dict.fromkeys(RESULTS, ours)
    assert [link.context for link in spans["infer"].links] == [spans["publish"].parent]
