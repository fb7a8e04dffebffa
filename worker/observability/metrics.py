"""Every metric and every log event, declared once, each with its unit and what it means when it moves.

Log lines are few for each unit of work: the life of the worker and of its partitions, and what went wrong; never a payload, never a
secret. What happens for each record is a metric. `GET /metrics` shows them all.
"""

from __future__ import annotations

import logging
import sys
from collections import Counter as Tally
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from worker.observability.known_labels import show_zeros
from worker.observability.load_gauges import LoadGauges
from worker.observability.redaction import Redacting, only_foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, MutableMapping

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Telemetry:
    """The instruments of one worker. Every method returns at once; texts and keys never come near it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Declare everything in `registry`, or in one of its own."""
        self.registry = registry or CollectorRegistry()
        self._log = structlog.get_logger("gist-stream")
        # What waits, as an autoscaler should see it.
        self.load_gauges = LoadGauges(self.registry)
        self._declare_flow()
        self._declare_health()
        show_zeros(
            dead_letters=self._dead_letters,
            published=self._published,
            rebalances=self._rebalances,
            sessions_ended=self._sessions_ended,
            retries=self._retries,
            events=self._broker_events,
        )
        # Memory, processor time and open files of the process.
        ProcessCollector(registry=self.registry)

    def _declare_flow(self) -> None:
        registry = self.registry
        # Falls to zero while lag grows: the worker is stuck, or backpressure holds it.
        self._consumed = Counter("gist_records_consumed", "Records taken from the input topics.", ["topic"], registry=registry)
        # Follows the consumed records times the tasks asked for; a gap that stays open is work in flight.
        self._published = Counter(
            "gist_messages_published", "Messages acknowledged by the output topics.", ["output"], registry=registry
        )
        # Anything above zero wants a look at the dead-letter topic.
        self._dead_letters = Counter(
            "gist_dead_letters", "Dead letters acknowledged, by the step that failed.", ["stage"], registry=registry
        )
        # The speed that the hardware gives.
        self._tokens = Counter("gist_tokens", "Tokens that went through the model.", registry=registry)
        self._batches = Counter("gist_batches", "Forward passes.", registry=registry)
        self._truncated = Counter("gist_texts_truncated", "Texts longer than the model reads.", registry=registry)
        # Low under a backlog: batches are cut by records or by waiting, not by tokens.
        buckets = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1, 1.5)
        self._fill = Histogram("gist_batch_fill_ratio", "Tokens of a batch over its budget.", registry=registry, buckets=buckets)
        sizes = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
        self._batch_records = Histogram("gist_batch_records", "Records of a batch.", registry=registry, buckets=sizes)
        # Which step the time goes to.
        self._stages = Histogram(
            "gist_stage_duration_seconds",
            "One call of a step of the flow, or the `wait` of a batch's oldest record for the model.",
            ["stage"],
            registry=registry,
            buckets=_LATENCY_S,
        )
        # What a user waits for; grows with lag.
        self._end_to_end = Histogram(
            "gist_end_to_end_latency_seconds",
            "From a record's timestamp to the acknowledgement of its outputs.",
            ["topic"],
            registry=registry,
            buckets=_LATENCY_S,
        )

    def _declare_health(self) -> None:
        registry = self.registry
        # At its upper bound: the model or the output topics are slower than the input.
        self._in_flight = Gauge("gist_in_flight_tokens", "Tokens tracked and not yet published.", registry=registry)
        self._waiting = Gauge("gist_model_queue_records", "Records that wait for the model.", registry=registry)
        # Growing: add replicas, up to the number of partitions.
        self._lag = Gauge(
            "gist_fetch_lag_records",
            "Records between our position and the partition's end.",
            ["topic", "partition"],
            registry=registry,
        )
        # Rising steadily: members come and go, or miss their heartbeats.
        self._rebalances = Counter("gist_rebalances", "Partitions given and taken, by kind.", ["kind"], registry=registry)
        self._sessions = Counter("gist_partition_sessions_opened", "Partition sessions opened.", registry=registry)
        # Above zero: work was dropped and is done again.
        self._sessions_ended = Counter(
            "gist_partition_session_failures", "Partition sessions that ended in doubt, by reason.", ["reason"], registry=registry
        )
        self._retries = Counter(
            "gist_step_retries", "Failures that are tried again, by step and error.", ["stage", "error"], registry=registry
        )
        self._broker_events = Counter(
            "gist_broker_events", "Things that the broker room noticed, by name.", ["event"], registry=registry
        )
        # Above a second: something blocks the event loop, and heartbeats are late.
        self._loop_lag = Gauge("gist_event_loop_lag_seconds", "How late the event loop woke its last observer.", registry=registry)
        # More than one while a model is rolled out; for longer on some replicas only: what they read differs.
        self._models = Gauge("gist_model_info", "The models that are loaded; always 1.", ["model"], registry=registry)
        # Above zero: a model or a plan of a roll-out is broken, and what was there before goes on.
        self._rollout_failures = Counter("gist_rollout_failures", "Models and plans that could not be loaded.", registry=registry)
        # Differs between replicas: they do not run the same model or build.
        self._build = Gauge(
            "gist_build_info", "The version, the model and the device; always 1.", ["version", "model", "device"], registry=registry
        )

    # ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def consumed(self, topics: Iterable[str]) -> None:
        """Count records, each by the topic that it was taken from."""
        for topic, num_records in Tally(topics).items():
            self._consumed.labels(topic).inc(num_records)

    def stage(self, stage: str, seconds: float) -> None:
        """Note how long one call of a step took, in seconds."""
        self._stages.labels(stage).observe(seconds)

    def batch(self, *, num_records: int, num_tokens: int, max_tokens: int, num_truncated: int) -> None:
        """Note a batch on its way to the model."""
        self._batches.inc()
        self._tokens.inc(num_tokens)
        self._truncated.inc(num_truncated)
        self._batch_records.observe(num_records)
        self._fill.observe(num_tokens / max_tokens)

    def published(self, outputs: Iterable[str]) -> None:
        """Count messages, by output, once they are acknowledged."""
        for output, num_messages in Tally(outputs).items():
            self._published.labels(output).inc(num_messages)

    def dead_letter(self, stage: str) -> None:
        """Count a dead letter."""
        self._dead_letters.labels(stage).inc()

    def end_to_end(self, topic: str, ages_s: Iterable[float]) -> None:
        """Note how old records of a topic are once their outputs are acknowledged, in seconds, not below zero: clocks differ."""
        observer = self._end_to_end.labels(topic)
        for it in ages_s:
            observer.observe(max(0.0, it))

    # ── the load ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def load(self, *, in_flight_tokens: int, num_waiting: int) -> None:
        """Report what is in the worker now."""
        self._in_flight.set(in_flight_tokens)
        self._waiting.set(num_waiting)

    def lag(self, lags: Mapping[tuple[str, int], int]) -> None:
        """Report the lag of each of our partitions; those that are no longer ours are forgotten."""
        self._lag.clear()
        for (topic, index), num_records in lags.items():
            self._lag.labels(topic, str(index)).set(num_records)

    def loop_lag(self, seconds: float) -> None:
        """Report how late the event loop is."""
        self._loop_lag.set(seconds)

    # ── the life ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def started(self, *, version: str, model: str, device: str, **fields: object) -> None:
        """Say what runs here."""
        self._build.labels(version, model, device).set(1)
        self._log.info("started", version=version, model=model, device=device, **fields)

    def reads(self, topics: Iterable[str]) -> None:
        """Show the counters of the input topics before their first record."""
        for topic in topics:
            self._consumed.labels(topic)

    def models(self, names: Iterable[str]) -> None:
        """Report which models are loaded."""
        self._models.clear()
        for name in names:
            self._models.labels(name).set(1)

    def rollout_failed(self, what: str, error: Exception) -> None:
        """Say that a model, or the plan, could not be loaded, and that all goes on as before."""
        self._rollout_failures.inc()
        self._log.error("rollout_failed", what=what, error=f"{type(error).__name__}: {error}")

    def rebalance(self, kind: str, partitions: list[str]) -> None:
        """Say which partitions were `assigned` or `revoked`."""
        self._rebalances.labels(kind).inc()
        self._log.info("partitions_" + kind, partitions=partitions)

    def session_opened(self, partition: object, offset: int) -> None:
        """Say that a partition takes records from an offset on."""
        self._sessions.inc()
        self._log.info("session_opened", partition=str(partition), offset=offset)

    def session_ended(self, partition: object, error: Exception) -> None:
        """Say that a partition's work was dropped, and why."""
        self._sessions_ended.labels(type(error).__name__).inc()
        self._log.warning("session_ended", partition=str(partition), error=str(error))

    def retry(self, stage: str, error: Exception) -> None:
        """Say that something failed that is tried again."""
        self._retries.labels(stage, type(error).__name__).inc()
        self._log.warning("retry", stage=stage, error=f"{type(error).__name__}: {error}")

    def dead_letters(self, num_by_reason: Mapping[str, int]) -> None:
        """Say how many dead letters were published since the last such line, by stage and reason."""
        if num_by_reason:
            self._log.warning("dead_letters", published=sum(num_by_reason.values()), reasons=dict(num_by_reason))

    def dead_letters_held(self, topic: str, **fields: object) -> None:
        """Say that the first records of a topic failed and wait for its first result."""
        self._log.warning("dead_letters_held", topic=topic, **fields)

    def broker_event(self, event: str, **fields: object) -> None:
        """Pass on what the broker room noticed: an offset out of range, an unreadable range, a dead fetch task."""
        self._broker_events.labels(event).inc()
        self._log.warning(event, **fields)

    def ineffective_setting(self, warning: str) -> None:
        """Log that a variable with our prefix is no setting, or that `.env` is no file."""
        self._log.warning("ineffective_setting", warning=warning)

    def info(self, event: str, **fields: object) -> None:
        """Log a step of the worker's life."""
        self._log.info(event, **fields)


def configure_logging(*, level: str, log_format: str, replica: int | None = None) -> None:
    """Set up structlog, and the standard library's logging through it; `log_format` is `auto`, `json` or `pretty`.

    Of several workers that write to one place, each line names its `replica`.
    """
    is_pretty = log_format == "pretty" or (log_format == "auto" and sys.stderr.isatty())
    renderers: list[structlog.typing.Processor]
    if is_pretty:
        renderers = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    else:
        renderers = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(serializer=_json)]
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([] if replica is None else [_naming(replica)]),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Below INFO Kafka's client prints payloads and secrets: not even `debug` opens it.
    logging.getLogger("aiokafka").setLevel(max(logging.INFO, logging.getLogger().level))
    handler.addFilter(only_foreign(Redacting()))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _naming(replica: int) -> structlog.typing.Processor:
    return lambda _logger, _method, event: {**event, "replica": replica}


def _json(event: MutableMapping[str, Any], **_options: object) -> str:
    return orjson.dumps(event, default=str).decode()
