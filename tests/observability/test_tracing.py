"""Tracing: outputs continue the context of their record, and a forward pass has links to its records."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.fakes import FakeDelivery, FakeKafka, FakeModel
from tests.makers import PARTITION, record, tokenized
from worker.composition import tracing as traces
from worker.errors import BadSettings, PublishFailed
from worker.observability import tracing
from worker.observability.tracing import TracedDelivery, TracedModel, build_provider
from worker.records import Failure, Message, Outcome, Output, Record, Stage, TokenizedItem
from worker.wire.headers import read_headers

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE_ID}-{SPAN_ID}-01".encode()


class Tracing:
    """A provider that keeps its spans, and a traced model and delivery that are fakes."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.kafka = FakeKafka()
        self.fake = FakeDelivery(self.kafka)
        self.delivery = TracedDelivery(self.fake, self.provider)
        self.model = TracedModel(FakeModel(), self.provider)


def traced(offset: int, context: bytes | None = SAMPLED) -> Record:
    """Return a record with a trace context."""
    headers = (("other", b"kept"), *((("traceparent", context),) if context is not None else ()))
    return replace(record(offset), headers=headers)


def outcome(source: Record) -> Outcome:
    """Return an outcome with two messages that have the headers of the record, as outputs do."""
    return Outcome(
        source, tuple(Message(output, source.key, b"v", source.headers) for output in (Output.EMBEDDINGS, Output.LABELS))
    )


async def test_outputs_carry_the_context_of_a_child_of_the_record() -> None:
    """Both outputs name one span of the worker in the trace of the producer, in a header of the same length."""
    spied = Tracing()
    await spied.delivery.publish(PARTITION, [outcome(traced(0))])
    (span,) = spied.exporter.get_finished_spans()
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}", span.kind) == (TRACE_ID, SPAN_ID, SpanKind.PRODUCER)
    expected = (("other", b"kept"), ("traceparent", f"00-{TRACE_ID}-{span.context.span_id:016x}-01".encode()))
    assert [message.headers for _, _, message in spied.kafka.published] == [expected, expected]


@pytest.mark.parametrize("context", [None, b"", b"garbage", b"\xff\xfe", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
async def test_a_record_without_a_context_is_published_as_it_is(context: bytes | None) -> None:
    """A missing or malformed context gives neither a span nor a new header."""
    spied = Tracing()
    given = outcome(traced(0, context))
    await spied.delivery.publish(PARTITION, [given])
    assert not spied.exporter.get_finished_spans()
    assert [message for _, _, message in spied.kafka.published] == list(given.messages)


async def test_an_unsampled_trace_stays_unsampled() -> None:
    """The outputs have the sampling decision of the producer, and the worker records no span."""
    spied = Tracing()
    await spied.delivery.publish(PARTITION, [outcome(traced(0, SAMPLED[:-2] + b"00"))])
    assert not spied.exporter.get_finished_spans()
    assert all(read_headers(message.headers)["traceparent"].endswith(b"-00") for _, _, message in spied.kafka.published)


async def test_a_publication_in_doubt_and_a_dead_letter_are_seen() -> None:
    """The span has the error of the publication and an event for the dead letter, and the exception propagates."""
    spied = Tracing()

    def fail(_partition: object, _outcomes: object) -> None:
        raise PublishFailed("no answer")

    spied.fake.on_publish = fail
    dead = replace(outcome(traced(0)), failures=(Failure(Stage.DECODE, "InvalidRecord", "why"),))
    with pytest.raises(PublishFailed):
        await spied.delivery.publish(PARTITION, [dead])
    (span,) = spied.exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert [(event.name, dict(event.attributes or {})["gist.stage"]) for event in span.events] == [("dead_letter", "decode")]


def test_a_forward_pass_is_one_span_with_a_link_to_each_traced_record() -> None:
    """A batch has one span; records without a context have no link."""
    spied = Tracing()
    items = [tokenized(n, 3) for n in range(3)]
    items[1] = TokenizedItem(replace(items[1].item, record=traced(1)), items[1].tokens)
    assert len(spied.model.infer(items)) == 3
    (span,) = spied.exporter.get_finished_spans()
    assert [f"{link.context.span_id:016x}" for link in span.links] == [SPAN_ID]
    attributes = dict(span.attributes or {})
    assert (attributes["messaging.batch.message_count"], attributes["gist.tokens"], attributes["gist.model"]) == (3, 9, "fake@1")


def test_a_pass_that_fails_is_an_error_and_its_exception_passes() -> None:
    """The exception reaches the search for the failing record."""
    spied = Tracing()
    bad = replace(tokenized(0, 1), item=replace(tokenized(0, 1).item, text="poison"))
    with pytest.raises(RuntimeError):
        spied.model.infer([bad])
    (span,) = spied.exporter.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR


async def test_everything_else_is_the_delivery_s_own() -> None:
    """Calls other than `publish` and `infer` reach the wrapped object."""
    spied = Tracing()
    await spied.delivery.start()
    assert await spied.delivery.open(PARTITION) == 0
    await spied.delivery.publish(PARTITION, [outcome(record(0))])
    await spied.delivery.commit([PARTITION])
    assert spied.kafka.committed == {PARTITION: 1}
    assert spied.delivery.max_message_bytes(Output.LABELS) == spied.fake.max_message_bytes(Output.LABELS)
    await spied.delivery.forget(PARTITION)
    await spied.delivery.stop()
    assert [len(item.ids) for item in spied.model.tokenize(["two words"])] == [2]


def test_nothing_is_wrapped_and_nothing_imported_unless_a_collector_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a collector the model is the same object, and the process does not import OpenTelemetry."""
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    model = FakeModel()
    assert traces.build_tracing() is None
    assert traces.trace_model(model, None) is model
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert traces.build_tracing() is None
    program = "import sys, worker.commands.run.run; sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_collector_without_the_extra_is_a_readable_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)
    monkeypatch.setitem(sys.modules, "worker.observability.tracing", None)
    monkeypatch.delattr("worker.observability.tracing", raising=False)
    with pytest.raises(BadSettings, match=r"gist-stream\[tracing\]"):
        traces.build_tracing()


def test_the_exporting_provider_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service name in the environment overrides the default."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "tickets")
    provider = build_provider("1.2.3")
    attributes = dict(provider.resource.attributes)
    provider.shutdown()
    assert (attributes["service.name"], attributes["service.version"]) == ("tickets", "1.2.3")
    assert attributes["service.instance.id"]


def test_a_full_batch_is_linked_to_all_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record has one link, even beyond the 128 links that the library keeps by default."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "OTLPSpanExporter", lambda: exporter)
    provider = build_provider("1.2.3")
    contexts = [f"00-{TRACE_ID}-{number:016x}-01".encode() for number in range(1, 301)]
    items = [
        TokenizedItem(replace(item.item, record=traced(n, contexts[n])), item.tokens)
        for n in range(300)
        for item in [tokenized(n, 1)]
    ]
    TracedModel(FakeModel(), provider).infer([*items, items[0]])
    provider.shutdown()
    (span,) = exporter.get_finished_spans()
    assert [link.context.span_id for link in span.links] == list(range(1, 301))


def test_remaining_spans_are_sent_at_the_end() -> None:
    """A span in the queue of the exporter is sent before the worker exits."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
    tracing.Tracing(provider).model(FakeModel()).infer([tokenized(0, 1)])
    tracing.Tracing(provider).stop()
    assert [span.name for span in exporter.get_finished_spans()] == ["infer"]


def test_a_collector_that_is_away_does_not_hold_up_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that cannot be sent within some seconds are dropped."""
    monkeypatch.setattr(tracing, "_MAX_STOP_S", 0.01)
    may_end, provider = threading.Event(), TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(provider, "shutdown", lambda: may_end.wait(60))
    tracing.Tracing(provider).stop()
    may_end.set()


def test_a_request_continues_its_trace_and_one_without_a_context_has_no_span() -> None:
    """The records of the request have the span of the request as their context."""
    spied = Tracing()
    traced_requests = tracing.Tracing(spied.provider)
    with traced_requests.request("/embed", {}) as headers:
        assert headers == ()
    with traced_requests.request("/embed", {"traceparent": SAMPLED.decode()}) as headers:
        pass
    (span,) = spied.exporter.get_finished_spans()
    assert (span.name, span.kind, span.attributes) == ("POST /embed", SpanKind.SERVER, {"http.route": "/embed"})
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == SPAN_ID
    assert headers == (("traceparent", f"00-{TRACE_ID}-{span.context.span_id:016x}-01".encode()),)
