"""Trace records with OpenTelemetry: the spans continue the context in the headers of a record, and outputs carry the new context.

    producer's span ──▶ `publish` of its outputs ──▶ (header `traceparent` of each output) ──▶ the consumer's span
          ▲
          └── link ── `infer`, one span for each forward pass

The tracing wraps the model and the delivery; the rest of the pipeline has no tracing code. The worker imports this module only if
tracing is on. OpenTelemetry's variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, …) configure
the collector, the service name and the sampling.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SPAN_LINK_COUNT_LIMIT
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from worker.batches import LIVE_PASS, PassContext
from worker.records import Record
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import Attributes

    from worker.ports import Delivery, ServedModel
    from worker.records import Headers, Message, Outcome, Output, Partition, Prediction, Task, TokenizedItem, Tokens

# The maximum time that the exit waits for the last spans.
_MAX_STOP_S = 5.0
_PARENT, _STATE = "traceparent", "tracestate"
_W3C = TraceContextTextMapPropagator()


def build_provider(version: str) -> TracerProvider:
    """Return a provider that sends spans to the collector of the environment. Each process is a separate service instance.

    A forward pass may have a link for each record of a full batch, more than the default limit of 128.
    """
    own = Resource.create({SERVICE_NAME: "gist-stream", "service.version": version})
    limits = SpanLimits(max_links=None if OTEL_SPAN_LINK_COUNT_LIMIT in os.environ else SpanLimits.UNSET)
    provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """Wraps models and deliveries in spans."""

    def __init__(self, provider: TracerProvider) -> None:
        """Send the spans to `provider`."""
        self._provider = provider

    def stop(self) -> None:
        """Send the remaining spans within a few seconds, so that an unreachable collector does not delay the exit."""
        ending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(_MAX_STOP_S)

    def model(self, model: ServedModel) -> ServedModel:
        """Return the model with a span around each forward pass."""
        return TracedModel(model, self._provider)

    def delivery(self, delivery: Delivery) -> Delivery:
        """Return the delivery, which continues the trace of each record."""
        return TracedDelivery(delivery, self._provider)

    @contextmanager
    def request(self, route: str, headers: Mapping[str, str]) -> Iterator[Headers]:
        """Continue the trace in the headers of an HTTP request with a span; yield the headers of the span for records.

        A request without a context gets no span, as a record does.
        """
        given = {name: headers[name] for name in (_PARENT, _STATE) if name in headers}
        context = _W3C.extract(given, trace.set_span_in_context(trace.INVALID_SPAN))
        if not trace.get_current_span(context).get_span_context().is_valid:
            yield ()
            return
        tracer, attributes = _get_tracer(self._provider), {"http.route": route}
        with tracer.start_as_current_span(f"POST {route}", context, SpanKind.SERVER, attributes):
            carrier: dict[str, str] = {}
            _W3C.inject(carrier)
            yield tuple((name, value.encode()) for name, value in carrier.items())


class TracedModel:
    """A model, with a span around each forward pass, linked to the contexts of its records."""

    def __init__(self, model: ServedModel, provider: trace.TracerProvider) -> None:
        """Wrap `model`."""
        self._model = model
        self._tracer = _get_tracer(provider)
        self.name: str = model.name
        self.tasks: frozenset[Task] = model.tasks
        self.max_tokens: int = model.max_tokens
        self.max_passes: int = model.max_passes

    def warm_up(self) -> None:
        """Warm the model up without spans."""
        self._model.warm_up()

    def tokenize(self, texts: Sequence[str], prompt: str | None = None) -> list[Tokens]:
        """Tokenize without a span: the call is too short."""
        return self._model.tokenize(texts, prompt)

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run one forward pass in a span; the span records an exception, which is raised again."""
        contexts = [trace.get_current_span(_read_context(tokenized.item.record.headers)).get_span_context() for tokenized in items]
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.batch.message_count": len(items),
            "gist.model": self.name,
            "gist.tokens": sum(len(tokenized.tokens) for tokenized in items),
        }
        # Several records have the same context if one span of their producer sent them.
        links = list({(parent.trace_id, parent.span_id): Link(parent) for parent in contexts if parent.is_valid}.values())
        with self._tracer.start_as_current_span("infer", links=links, attributes=attributes):
            return self._model.infer(items, context)


class TracedDelivery:
    """A delivery with a span for each record: a child of the record's context, whose context the outputs carry.

    A record without a context gets no span, and its outputs are unchanged.
    """

    def __init__(self, delivery: Delivery, provider: trace.TracerProvider) -> None:
        """Wrap `delivery`."""
        self._delivery = delivery
        self._tracer = _get_tracer(provider)

    async def start(self) -> None:
        """Start the delivery."""
        await self._delivery.start()

    async def open(self, partition: Partition) -> int:
        """Open the partition for publication."""
        return await self._delivery.open(partition)

    async def publish(self, partition: Partition, outcomes: Sequence[Outcome]) -> None:
        """Publish with a span for each record. If the publication fails, these spans have the status `ERROR`."""
        spans: list[Span] = []
        continued = [self._continue_trace(outcome, spans) for outcome in outcomes]
        try:
            await self._delivery.publish(partition, continued)
        except BaseException as error:
            for span in spans:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            now_ns = time.time_ns()
            for span in spans:
                span.end(now_ns)

    async def commit(self, partitions: Collection[Partition]) -> None:
        """Commit the published outcomes of the partitions."""
        await self._delivery.commit(partitions)

    async def forget(self, partition: Partition) -> None:
        """Drop the state of a partition."""
        await self._delivery.forget(partition)

    async def refresh_limits(self) -> None:
        """Read the limits of the output topics again."""
        await self._delivery.refresh_limits()

    def max_message_bytes(self, output: Output) -> int:
        """Return the largest message that this output accepts."""
        return self._delivery.max_message_bytes(output)

    def needs_key(self, output: Output) -> bool:
        """Return whether this output rejects a message without a key."""
        return self._delivery.needs_key(output)

    async def stop(self) -> None:
        """Stop the delivery."""
        await self._delivery.stop()

    def _continue_trace(self, outcome: Outcome, spans: list[Span]) -> Outcome:
        """Start a span, add the span to `spans`, and return the outcome with the context of the span in its message headers."""
        source = outcome.source
        context = _read_context(source.headers) if isinstance(source, Record) else None
        if context is None or not trace.get_current_span(context).get_span_context().is_valid:
            return outcome
        attributes: Attributes = {
            "messaging.system": "kafka",
            "gist.source_topic": source.partition.topic,
            "gist.source_partition": source.partition.index,
            "gist.source_offset": source.offset,
            "gist.messages": len(outcome.messages),
        }
        span = self._tracer.start_span("publish", context, SpanKind.PRODUCER, attributes)
        for failure in outcome.failures:
            span.add_event("dead_letter", {"gist.stage": str(failure.stage), "error.type": failure.error})
        spans.append(span)
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, trace.set_span_in_context(span))
        parent = carrier[_PARENT].encode()
        return replace(outcome, messages=tuple(_replace_parent(message, parent) for message in outcome.messages))


def _get_tracer(provider: trace.TracerProvider) -> Tracer:
    return provider.get_tracer("gist-stream")


def _read_context(headers: Headers) -> Context:
    """Return the context in `traceparent`; an empty context if the header is missing or malformed."""
    carrier = {name: value.decode("ascii", "replace") for name, value in read_headers(headers).items() if name in (_PARENT, _STATE)}
    # Without an invalid span as its base, the context would continue the span of this thread.
    return _W3C.extract(carrier, trace.set_span_in_context(trace.INVALID_SPAN))


def _replace_parent(message: Message, parent: bytes) -> Message:
    """Return the message with a new `traceparent` of the same length, so that the message stays within its size limit."""
    return replace(message, headers=tuple((name, parent if name == _PARENT else value) for name, value in message.headers))
