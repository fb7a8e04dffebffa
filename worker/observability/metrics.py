"""Every metric and every log event, declared once, each with its unit and its interpretation.

Logs have the life of the worker and of its partitions, errors, and a summary each 30 seconds; never a payload or a secret.
Events of single records are metrics, which `GET /metrics` returns.
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

from worker.observability.event_loop_time import EventLoopTime
from worker.observability.known_labels import show_zeros
from worker.observability.load_gauges import LoadGauges
from worker.observability.progress import Progress
from worker.observability.structured_log import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FILL = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1, 1.5)
_BATCH_RECORDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class WorkerTelemetry:
    """The metrics and log events of one worker. No method waits, and none takes a text or a key."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Declare all metrics in `registry`, or in a new one."""
        # The time of creation of each counter is a series of its own, which no query uses.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry or CollectorRegistry()
        self._log = structlog.get_logger("gist-stream")
        # The load, for an autoscaler.
        self.load_gauges = LoadGauges(self.registry)
        # Counts for the summary in the log.
        self._progress = Progress()
        self._declare_flow()
        self._declare_health()
        show_zeros(
            dead_letters=self._dead_letters,
            skipped=self._skipped,
            cached=self._cached,
            published=self._published,
            rebalances=self._rebalances,
            sessions_ended=self._sessions_ended,
            retries=self._retries,
            events=self._broker_events,
        )
        EventLoopTime(self.registry)
        # Memory, processor time and open files of the process.
        ProcessCollector(registry=self.registry)

    def _declare_flow(self) -> None:
        registry = self.registry
        # Zero while the lag grows: the worker is stuck, or backpressure stops it.
        self._consumed = Counter("gist_records_consumed", "Records taken from the input topics.", ["topic"], registry=registry)
        # Follows the consumed records times their tasks; the difference is work in flight.
        self._published = Counter(
            "gist_messages_published", "Messages acknowledged by the output topics.", ["output"], registry=registry
        )
        # Above zero: look at the dead-letter topic.
        self._dead_letters = Counter("gist_dead_letters", "Dead letters acknowledged, by step.", ["stage"], registry=registry)
        # Records that the settings of the input leave out, such as updates that did not change the text.
        self._skipped = Counter("gist_records_skipped", "Records committed without an output.", ["reason"], registry=registry)
        # The hit rate of the cache of results: hits and duplicates over all. Zero without GIST_RESULT_CACHE_MIB.
        self._cached = Counter("gist_result_cache_texts", "Texts by the origin of their result.", ["origin"], registry=registry)
        # The throughput of the model.
        self._tokens = Counter("gist_tokens", "Tokens that went through the model.", registry=registry)
        self._batches = Counter("gist_batches", "Forward passes.", registry=registry)
        self._truncated = Counter("gist_texts_truncated", "Texts longer than the limit of the model.", registry=registry)
        # Low under a backlog: the limit of records or the delay ends the batches, not the limit of tokens.
        self._fill = Histogram("gist_batch_fill_ratio", "Tokens of a batch over its budget.", registry=registry, buckets=_FILL)
        # On a CPU near the least of 256 tokens: the machine is slower than GIST_MAX_BATCH_MS allows.
        self._budget = Gauge("gist_batch_budget_tokens", "Maximum tokens of the last batch.", ["lane"], registry=registry)
        self._batch_records = Histogram("gist_batch_records", "Records of a batch.", registry=registry, buckets=_BATCH_RECORDS)
        # The time of each step.
        self._stages = Histogram(
            "gist_stage_duration_seconds",
            "One call of a step of the flow, or the `wait` of a batch's oldest record for the model.",
            ["stage"],
            registry=registry,
            buckets=_LATENCY_S,
        )
        # The latency for a user; grows with the lag.
        self._end_to_end = Histogram(
            "gist_end_to_end_latency_seconds",
            "From a record's timestamp to the acknowledgement of its outputs.",
            ["topic"],
            registry=registry,
            buckets=_LATENCY_S,
        )

    def _declare_health(self) -> None:
        registry = self.registry
        # At its limit: the model or the output topics are slower than the input.
        self._in_flight = Gauge("gist_in_flight_tokens", "Tokens tracked and not yet published.", registry=registry)
        self._waiting = Gauge("gist_model_queue_records", "Records in the queue of the model.", registry=registry)
        # Growing: add replicas, up to the number of partitions.
        self._lag = Gauge(
            "gist_fetch_lag_records",
            "Records between our position and the partition's end.",
            ["topic", "partition"],
            registry=registry,
        )
        # Rising steadily: members join and leave, or miss heartbeats.
        self._rebalances = Counter("gist_rebalances", "Partitions assigned and revoked, by kind.", ["kind"], registry=registry)
        self._sessions = Counter("gist_partition_sessions_opened", "Partition sessions opened.", registry=registry)
        # Above zero: work was dropped and is repeated.
        self._sessions_ended = Counter(
            "gist_partition_session_failures",
            "Partition sessions that ended with an error, by reason.",
            ["reason"],
            registry=registry,
        )
        self._retries = Counter(
            "gist_step_retries", "Failures that are retried, by step and error.", ["stage", "error"], registry=registry
        )
        self._broker_events = Counter(
            "gist_broker_events", "Unusual events of the Kafka client, by name.", ["event"], registry=registry
        )
        # Above a second: a call blocks the event loop, and heartbeats are late.
        self._loop_lag = Gauge("gist_event_loop_lag_seconds", "Delay of the event loop at the last measurement.", registry=registry)
        # Two during a rollout. Different values on some replicas for long: their plans differ.
        self._models = Gauge("gist_model_info", "The models that are loaded; always 1.", ["model"], registry=registry)
        # Above zero: a model or a plan of a rollout is broken; the worker continues with the previous ones.
        self._rollout_failures = Counter("gist_rollout_failures", "Models and plans that could not be loaded.", registry=registry)
        # Different on replicas: they run different models or versions.
        self._build = Gauge(
            "gist_build_info", "The version, the model and the device; always 1.", ["version", "model", "device"], registry=registry
        )

    # ── the flow ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def consumed(self, topics: Iterable[str]) -> None:
        """Count records that were read, by topic."""
        for topic, num_records in Tally(topics).items():
            self._consumed.labels(topic).inc(num_records)
            self._progress.num_records += num_records

    def stage(self, stage: str, seconds: float) -> None:
        """Record the duration of one call of a step, in seconds."""
        self._stages.labels(stage).observe(seconds)

    def batch(self, *, num_records: int, num_tokens: int, max_tokens: int, num_truncated: int, lane: str) -> None:
        """Record a batch for the model, from the lane `live` or `backfill`."""
        self._budget.labels(lane).set(max_tokens)
        self._batches.inc()
        self._tokens.inc(num_tokens)
        self._truncated.inc(num_truncated)
        self._batch_records.observe(num_records)
        self._fill.observe(num_tokens / max_tokens)

    def published(self, outputs: Iterable[str]) -> None:
        """Count acknowledged messages, by output."""
        for output, num_messages in Tally(outputs).items():
            self._published.labels(output).inc(num_messages)

    def dead_letter(self, stage: str) -> None:
        """Count a dead letter."""
        self._dead_letters.labels(stage).inc()
        self._progress.num_dead_letters += 1

    def cached(self, origin: str, num_texts: int) -> None:
        """Count texts of a batch by the origin of their result: `hit`, `duplicate` or `miss`."""
        self._cached.labels(origin).inc(num_texts)

    def skipped(self, reason: str) -> None:
        """Count a record without outputs, by reason."""
        self._skipped.labels(reason).inc()

    def end_to_end(self, topic: str, ages_s: Iterable[float]) -> None:
        """Record the ages of records whose outputs are acknowledged, in seconds; at least zero, because clocks differ."""
        observer = self._end_to_end.labels(topic)
        for age_s in ages_s:
            observer.observe(max(0.0, age_s))

    # ── the load ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def load(self, *, in_flight_tokens: int, num_waiting: int) -> None:
        """Set the tokens in flight and the length of the queue."""
        self._in_flight.set(in_flight_tokens)
        self._waiting.set(num_waiting)

    def lag(self, lags: Mapping[tuple[str, int], int]) -> None:
        """Set the lag of each assigned partition, and remove the others."""
        self._lag.clear()
        self._progress.num_lag = sum(lags.values())
        for (topic, index), num_records in lags.items():
            self._lag.labels(topic, str(index)).set(num_records)

    def loop_lag(self, seconds: float) -> None:
        """Set the delay of the event loop."""
        self._loop_lag.set(seconds)

    # ── the life ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def started(self, *, version: str, model: str, device: str, **fields: object) -> None:
        """Log the start of the worker, with its model and its settings."""
        self._build.labels(version, model, device).set(1)
        self._log.info("started", version=version, model=model, device=device, **fields)

    def progress(self, now_s: float) -> None:
        """Log a summary if it is due: records read since the last summary, their rate, the fetch lag and the dead letters."""
        if (summary := self._progress.take(now_s)) is not None:
            self._log.info("progress", **summary)

    def reads(self, topics: Iterable[str]) -> None:
        """Create the counters of the input topics at zero."""
        for topic in topics:
            self._consumed.labels(topic)

    def models(self, names: Iterable[str]) -> None:
        """Set the loaded models."""
        self._models.clear()
        for name in names:
            self._models.labels(name).set(1)

    def rollout_failed(self, what: str, error: Exception) -> None:
        """Log that a model or a plan was not loaded; the worker continues with the previous ones."""
        self._rollout_failures.inc()
        self._log.error("rollout_failed", what=what, error=f"{type(error).__name__}: {error}")

    def rebalance(self, kind: str, partitions: list[str]) -> None:
        """Log partitions that were `assigned`, `revoked` or `lost`."""
        self._rebalances.labels(kind).inc()
        self._log.info("partitions_" + kind, partitions=partitions)

    def session_opened(self, partition: object, offset: int) -> None:
        """Log that a partition is read from an offset."""
        self._sessions.inc()
        self._log.info("session_opened", partition=str(partition), offset=offset)

    def session_ended(self, partition: object, error: Exception) -> None:
        """Log that the work of a partition was dropped, with the reason."""
        self._sessions_ended.labels(type(error).__name__).inc()
        self._log.warning("session_ended", partition=str(partition), error=str(error))

    def retry(self, stage: str, error: Exception) -> None:
        """Log a failure that is retried."""
        self._retries.labels(stage, type(error).__name__).inc()
        self._log.warning("retry", stage=stage, error=f"{type(error).__name__}: {error}")

    def dead_letters(self, num_by_reason: Mapping[str, int]) -> None:
        """Log the number of dead letters since the last such line, by stage and reason."""
        if num_by_reason:
            self._log.warning("dead_letters", published=sum(num_by_reason.values()), reasons=dict(num_by_reason))

    def dead_letters_held(self, topic: str, **fields: object) -> None:
        """Log that the first records of a topic failed, and that their dead letters wait for its first result."""
        self._log.warning("dead_letters_held", topic=topic, **fields)

    def broker_event(self, event: str, **fields: object) -> None:
        """Log an unusual event of the Kafka client, such as an offset out of range or an unreadable range."""
        self._broker_events.labels(event).inc()
        self._log.warning(event, **fields)

    def ineffective_setting(self, warning: str) -> None:
        """Log that a setting has no effect: an unknown variable, a `.env` that is no file, or a field that no record has."""
        self._log.warning("ineffective_setting", warning=warning)

    def model_warning(self, warning: str) -> None:
        """Log what is unusual about the model and its options."""
        self._log.warning("model_warning", warning=warning)

    def api_warning(self, warning: str) -> None:
        """Log that the HTTP endpoint for queries is open to all, or that its tokens cannot be read again."""
        self._log.warning("api_warning", warning=warning)

    def api_failed(self, route: str, error: Exception) -> None:
        """Log the class of an unexpected exception in a request, whose message could contain a text."""
        self._log.error("api_failed", route=route, error=type(error).__name__)

    def info(self, event: str, **fields: object) -> None:
        """Log an event of the life of the worker."""
        self._log.info(event, **fields)
