"""Traces, where they are asked for: the context that a record's headers carry is taken up and handed on.

    producer's span ──▶ `publish` of its outputs ──▶ (header `traceparent` of each output) ──▶ the reader's span
          ▲
          └── link ── `infer`, one span for each forward pass

The flow knows nothing of it: a model and a delivery are wrapped. Only who asks for traces imports this module; OpenTelemetry's own
variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, …) say where they go and how many.
"""

from __future__ import annotations

import os
import threading
import time
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
    from collections.abc import Collection, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import Attributes

    from worker.ports import Delivery, ServedModel
    from worker.records import Headers, Message, Outcome, Output, Partition, Prediction, Task, TokenizedItem, Tokens

# How long the exit waits for the last spans.
_LONGEST_STOP_S = 5.0
_PARENT, _STATE = "traceparent", "tracestate"
_W3C = TraceContextTextMapPropagator()


def exporting_provider(version: str) -> TracerProvider:
    """Return a provider that sends spans to the collector that the environment names, each process as an instance of its own.

    A forward pass may have a link for each record of a full batch, more than the library's usual 128.
    """
    ours = Resource.create({SERVICE_NAME: "gist-stream", "service.version": version})
    limits = SpanLimits(max_links=None if OTEL_SPAN_LINK_COUNT_LIMIT in os.environ else SpanLimits.UNSET)
    provider = TracerProvider(resource=ours.merge(OTELResourceDetector().detect()), span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """Puts spans around what models and deliveries do."""

    def __init__(self, provider: TracerProvider) -> None:
        """Send the spans to `provider`."""
        self._provider = provider

    def stop(self) -> None:
        """Send the remaining spans, for a few seconds at most: an unreachable collector does not delay the exit."""
        ending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(_LONGEST_STOP_S)

    def model(self, model: ServedModel) -> ServedModel:
        """Return the model with a span around each forward pass."""
        return TracedModel(model, self._provider)

    def delivery(self, delivery: Delivery) -> Delivery:
        """Return the delivery, which continues the trace of each record."""
        return TracedDelivery(delivery, self._provider)


class TracedModel:
    """A model, with a span around each forward pass, linked to the contexts of its records."""

    def __init__(self, model: ServedModel, provider: trace.TracerProvider) -> None:
        """Do what `model` does."""
        self._model = model
        self._tracer = _tracer_of(provider)
        self.name: str = model.name
        self.tasks: frozenset[Task] = model.tasks
        self.max_tokens: int = model.max_tokens
        self.max_passes: int = model.max_passes

    def warm_up(self) -> None:
        """Warm the model up, outside of any trace."""
        self._model.warm_up()

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Tokenize; too short to be worth a span."""
        return self._model.tokenize(texts)

    def infer(self, items: Sequence[TokenizedItem], context: PassContext = LIVE_PASS) -> list[Prediction]:
        """Run one forward pass within a span; an exception is noted in it and passes."""
        contexts = [trace.get_current_span(_context_of(it.item.record.headers)).get_span_context() for it in items]
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.batch.message_count": len(items),
            "gist.model": self.name,
            "gist.tokens": sum(len(it.tokens) for it in items),
        }
        # Records may have one context, where a span of their producer sent several.
        links = list({(it.trace_id, it.span_id): Link(it) for it in contexts if it.is_valid}.values())
        with self._tracer.start_as_current_span("infer", links=links, attributes=attributes):
            return self._model.infer(items, context)


class TracedDelivery:
    """A delivery that continues the trace of each record: its outputs carry the context of a span that is the record's child.

    A record without a context gets none: its outputs are published as they are.
    """

    def __init__(self, delivery: Delivery, provider: trace.TracerProvider) -> None:
        """Do what `delivery` does."""
        self._delivery = delivery
        self._tracer = _tracer_of(provider)

    async def start(self) -> None:
        """Connect."""
        await self._delivery.start()

    async def open(self, partition: Partition) -> int:
        """Make ready to publish for `partition`."""
        return await self._delivery.open(partition)

    async def publish(self, partition: Partition, outcomes: Sequence[Outcome]) -> None:
        """Publish within a span for each record; one that is not acknowledged is noted as an error, and is published again."""
        spans: list[Span] = []
        continued = [self._continued(it, spans) for it in outcomes]
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
        """Commit what was published."""
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
        """Tell whether this output refuses a message without a key."""
        return self._delivery.needs_key(output)

    async def stop(self) -> None:
        """Disconnect."""
        await self._delivery.stop()

    def _continued(self, outcome: Outcome, spans: list[Span]) -> Outcome:
        """Return the outcome with our context in its messages' headers, and add the span that it is the context of."""
        source = outcome.source
        context = _context_of(source.headers) if isinstance(source, Record) else None
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
        return replace(outcome, messages=tuple(_handed_on(it, carrier[_PARENT].encode()) for it in outcome.messages))


def _tracer_of(provider: trace.TracerProvider) -> Tracer:
    return provider.get_tracer("gist-stream")


def _context_of(headers: Headers) -> Context:
    """Return the context in `traceparent`; an empty context if the header is missing or malformed."""
    carrier = {name: value.decode("ascii", "replace") for name, value in read_headers(headers).items() if name in (_PARENT, _STATE)}
    # Without an invalid span as its base, the context would continue the span of this thread.
    return _W3C.extract(carrier, trace.set_span_in_context(trace.INVALID_SPAN))


def _handed_on(message: Message, parent: bytes) -> Message:
    """Return the message with our `traceparent`: as long as the one that it replaces, so that no limit is touched."""
    return replace(message, headers=tuple((name, parent if name == _PARENT else value) for name, value in message.headers))
