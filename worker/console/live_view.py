"""The present state of a group of workers and its last ten minutes, from metrics pages and committed offsets. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from worker.console.metrics_page import MetricsPage, add_buckets, estimate_quantile, subtract_buckets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: How long series and marks are kept, in seconds.
HISTORY_S = 600.0
# Latencies are estimated over this time, because a single interval has few records.
_LATENCY_WINDOW_S = 20.0
_MAX_MARKS = 200
_END_TO_END, _FILL, _STAGES = "gist_end_to_end_latency_seconds", "gist_batch_fill_ratio", "gist_stage_duration_seconds"
_DAY_S = 86_400.0
#: The series of the page, in the order of its tiles.
SERIES = ("records_s", "tokens_s", "backlog", "backlog_s", "p50_ms", "p99_ms", "fill", "engine", "dead_letters_s")
# Counters whose increase is a mark on the time line: kind, label with the detail, and words.
_MARKS = {
    "gist_rebalances_total": ("rebalance", "kind", "partitions"),
    "gist_rollout_failures_total": ("failure", "", "a model or a rollout could not be loaded"),
    "gist_partition_session_failures_total": ("failure", "reason", "partition session ended:"),
    "gist_broker_events_total": ("failure", "event", "broker client:"),
}


@dataclass(frozen=True, slots=True)
class PartitionOffsets:
    """The offsets of the group in one partition at one time, as the brokers know them."""

    topic: str
    partition: int
    committed: int
    end: int
    owner: str | None


@dataclass(slots=True)
class _Worker:
    """The last two pages of a worker."""

    now: MetricsPage = field(default_factory=MetricsPage)
    before: MetricsPage = field(default_factory=MetricsPage)
    now_s: float = 0.0
    before_s: float = 0.0
    problem: str | None = "not read yet"
    #: Increases of the end-to-end histogram with their times, within `_LATENCY_WINDOW_S`.
    latencies: deque[tuple[float, dict[float, float]]] = field(default_factory=deque)

    @property
    def interval_s(self) -> float:
        return self.now_s - self.before_s if self.before_s else 0.0

    def rate(self, name: str, **labels: str) -> float | None:
        """Return the increase of a counter per second; None before the second page."""
        return self.now.since(self.before, name, **labels) / self.interval_s if self.interval_s > 0 else None


class LiveView:
    """Collects pages and offsets; every method gets the time in seconds since the epoch."""

    def __init__(self, workers: Sequence[str]) -> None:
        """Expect the metrics of the workers at these addresses."""
        self._workers = {address: _Worker() for address in workers}
        self._offsets: dict[tuple[str, int], PartitionOffsets] = {}
        # Committed and end offset per second, by partition.
        self._offset_rates: dict[tuple[str, int], tuple[float, float]] = {}
        self._offsets_s = 0.0
        self._members: tuple[str, ...] | None = None
        #: Why the brokers cannot be read, or None.
        self.broker_problem: str | None = None
        self._history: deque[dict[str, Any]] = deque()
        self._marks: deque[dict[str, Any]] = deque(maxlen=_MAX_MARKS)

    def observe_worker(self, address: str, page: MetricsPage, now_s: float) -> None:
        """Take the metrics page of a worker."""
        worker = self._workers[address]
        if worker.problem is not None and worker.now_s:
            self._mark(now_s, "worker", f"{address} answers again")
        worker.before, worker.before_s, worker.now, worker.now_s, worker.problem = worker.now, worker.now_s, page, now_s, None
        if not worker.before_s:
            return
        worker.latencies.append((now_s, subtract_buckets(page.buckets(_END_TO_END), worker.before.buckets(_END_TO_END))))
        while worker.latencies[0][0] < now_s - _LATENCY_WINDOW_S:
            worker.latencies.popleft()
        self._find_marks(address, worker, now_s)

    def observe_failure(self, address: str, problem: str, now_s: float) -> None:
        """Take the reason for which a worker does not answer."""
        worker = self._workers[address]
        if worker.problem is None:
            self._mark(now_s, "failure", f"{address} does not answer: {problem}")
        worker.problem = problem
        worker.latencies.clear()

    def observe_group(self, members: Iterable[str], offsets: Sequence[PartitionOffsets], now_s: float) -> None:
        """Take the members of the group and its offsets from the brokers."""
        found = tuple(sorted(members))
        if self._members is not None and found != self._members:
            self._mark(now_s, "rebalance", f"members of the group: {len(found)}, before: {len(self._members)}")
        if self.broker_problem is not None:
            self._mark(now_s, "broker", "the brokers answer again")
        passed_s = now_s - self._offsets_s
        new = {(offset.topic, offset.partition): offset for offset in offsets}
        self._offset_rates = {
            key: ((offset.committed - before.committed) / passed_s, (offset.end - before.end) / passed_s)
            for key, offset in new.items()
            if passed_s > 0 and (before := self._offsets.get(key)) is not None
        }
        self._offsets, self._offsets_s, self._members, self.broker_problem = new, now_s, found, None

    def observe_broker_failure(self, problem: str, now_s: float) -> None:
        """Take the reason for which the brokers do not answer."""
        if self.broker_problem is None:
            self._mark(now_s, "failure", f"brokers: {problem}")
        self.broker_problem = problem
        self._offset_rates = {}

    def take_sample(self, now_s: float) -> dict[str, Any]:
        """Return the state at a time, as JSON, and add it to the series."""
        values = self._measure()
        self._history.append({"t": round(now_s, 1)} | values)
        while self._history[0]["t"] < now_s - HISTORY_S:
            self._history.popleft()
        return {
            "t": round(now_s, 1),
            "values": values,
            "broker_problem": self.broker_problem,
            "partitions": self._list_partitions(),
            "workers": [self._describe_worker(address, worker) for address, worker in self._workers.items()],
            "marks": self.list_marks(now_s),
        }

    def list_marks(self, now_s: float) -> list[dict[str, Any]]:
        """Return the marks of the last ten minutes."""
        return [mark for mark in self._marks if mark["t"] >= now_s - HISTORY_S]

    def list_series(self) -> dict[str, list[float | None]]:
        """Return the times and the values of each series, in step."""
        return {name: [sample[name] for sample in self._history] for name in ("t", *SERIES)}

    def _measure(self) -> dict[str, float | None]:
        """Return the present value of each series; None for a value that is not known."""
        alive = [worker for worker in self._workers.values() if worker.problem is None]
        latencies = add_buckets([buckets for worker in alive for _, buckets in worker.latencies])
        rates = [committed for committed, _ in self._offset_rates.values()]
        records_s = _add(worker.rate("gist_records_consumed_total") for worker in alive)
        if records_s is None and rates:
            records_s = max(0.0, sum(rates))
        backlog = float(sum(map(_count_lag, self._offsets.values()))) if self._offsets else None
        if backlog is None:
            backlog = _add(worker.now.sum("gist_fetch_lag_records") for worker in alive)
        drains = [seconds for worker in alive if (seconds := worker.now.maximum("gist_worker_backlog_drain_seconds")) is not None]
        return {
            "records_s": records_s,
            "tokens_s": _add(worker.rate("gist_tokens_total") for worker in alive),
            "backlog": backlog,
            "backlog_s": max(drains, default=_estimate_drain(backlog, records_s)),
            "p50_ms": _to_ms(estimate_quantile(latencies, 0.5)),
            "p99_ms": _to_ms(estimate_quantile(latencies, 0.99)),
            "fill": _divide(
                sum(worker.now.since(worker.before, f"{_FILL}_sum") for worker in alive if worker.interval_s),
                sum(worker.now.since(worker.before, f"{_FILL}_count") for worker in alive if worker.interval_s),
            ),
            "engine": _average(worker.rate(f"{_STAGES}_sum", stage="infer") for worker in alive),
            "dead_letters_s": _add(worker.rate("gist_dead_letters_total") for worker in alive),
        }

    def _list_partitions(self) -> list[dict[str, Any]]:
        alive = [worker for worker in self._workers.values() if worker.problem is None]
        drains, lags = dict[tuple[str, int], float](), dict[tuple[str, int], float]()
        for worker in alive:
            drains |= worker.now.by_partition("gist_backlog_drain_seconds")
            lags |= worker.now.by_partition("gist_fetch_lag_records")
        rows = []
        for topic, index in sorted({*self._offsets, *lags}):
            key, offset = (topic, index), self._offsets.get((topic, index))
            done, arriving = self._offset_rates.get(key, (None, None))
            lag = float(_count_lag(offset)) if offset else lags.get(key)
            rows.append(
                {
                    "topic": topic,
                    "partition": index,
                    "arriving_s": arriving,
                    "done_s": done,
                    "lag": lag,
                    "drain_s": drains.get(key, _estimate_drain(lag, done)),
                    "committed": offset.committed if offset else None,
                    "owner": offset.owner if offset else None,
                }
            )
        return rows

    def _describe_worker(self, address: str, worker: _Worker) -> dict[str, Any]:
        if worker.problem is not None:
            return {"address": address, "problem": worker.problem}
        build = dict(next(iter(worker.now.samples.get("gist_build_info", {})), ()))
        latencies = add_buckets([buckets for _, buckets in worker.latencies])
        fill = _divide(worker.now.since(worker.before, f"{_FILL}_sum"), worker.now.since(worker.before, f"{_FILL}_count"))
        return {
            "address": address,
            "problem": None,
            "device": build.get("device"),
            "models": sorted(worker.now.by_label("gist_model_info", "model")),
            "num_partitions": len(worker.now.by_partition("gist_fetch_lag_records")),
            "records_s": worker.rate("gist_records_consumed_total"),
            "tokens_s": worker.rate("gist_tokens_total"),
            "p99_ms": _to_ms(estimate_quantile(latencies, 0.99)),
            "fill": fill if worker.interval_s else None,
            "engine": worker.rate(f"{_STAGES}_sum", stage="infer"),
            "queue": worker.now.sum("gist_model_queue_records"),
            "memory_bytes": worker.now.maximum("process_resident_memory_bytes"),
        }

    def _find_marks(self, address: str, worker: _Worker, now_s: float) -> None:
        for name, (kind, label, words) in _MARKS.items():
            before = worker.before.by_label(name, label)
            for detail, count in worker.now.by_label(name, label).items():
                if count > before.get(detail, 0.0):
                    self._mark(now_s, kind, f"{address}: {words} {detail}".strip())
        models = [set(page.by_label("gist_model_info", "model")) for page in (worker.before, worker.now)]
        for name in sorted(models[1] - models[0]):
            self._mark(now_s, "rollout", f"{address}: model {name} is loaded")
        for name in sorted(models[0] - models[1]):
            self._mark(now_s, "rollout", f"{address}: model {name} is unloaded")

    def _mark(self, now_s: float, kind: str, words: str) -> None:
        self._marks.append({"t": round(now_s, 1), "kind": kind, "text": words})


def _count_lag(offset: PartitionOffsets) -> int:
    return max(0, offset.end - offset.committed)


def _estimate_drain(lag: float | None, rate: float | None) -> float | None:
    """Return the seconds until a lag is gone at a rate, a day at most; None if nothing is known."""
    if lag is None or lag == 0:
        return lag
    return None if rate is None else min(_DAY_S, lag / rate) if rate > 0 else _DAY_S


def _add(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _average(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _divide(total: float, count: float) -> float | None:
    return total / count if count > 0 else None


def _to_ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
