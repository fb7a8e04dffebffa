"""Rates, backlog, latencies and marks from metrics pages and offsets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from worker.console.live_view import LiveView, PartitionOffsets
from worker.console.metrics_page import MetricsPage, add_buckets, estimate_quantile, subtract_buckets
from worker.observability.metrics import WorkerTelemetry

A, B = "http://a:8080", "http://b:8080"


class Worker:
    """A worker with real metrics."""

    def __init__(self) -> None:
        self.telemetry = WorkerTelemetry()

    def work(self, *, num_records: int, age_s: float = 0.02) -> MetricsPage:
        """Process records and return the metrics page."""
        self.telemetry.consumed(["texts"] * num_records)
        self.telemetry.batch(num_records=num_records, num_tokens=64, max_tokens=128, num_truncated=0, lane="live")
        self.telemetry.stage("infer", 0.5)
        self.telemetry.end_to_end("texts", [age_s] * num_records)
        return self.page()

    def page(self) -> MetricsPage:
        """Return the metrics page."""
        return MetricsPage.parse(generate_latest(self.telemetry.registry).decode())


def test_rates_are_sums_over_the_workers() -> None:
    """Records and tokens per second add up; fill, engine share and latency are those of the interval."""
    view, workers = LiveView([A, B]), {A: Worker(), B: Worker()}
    for time_s in (100.0, 102.0):
        for address, worker in workers.items():
            view.observe_worker(address, worker.work(num_records=10), time_s)
    values = view.take_sample(102.0)["values"]
    assert (values["records_s"], values["tokens_s"], values["fill"], values["engine"]) == (10, 64, 0.5, 0.25)
    assert 10 <= values["p50_ms"] <= 25
    assert view.list_series()["records_s"] == [10]


def test_nothing_is_known_before_the_second_page() -> None:
    """A value that is not known is None and not zero."""
    view = LiveView([A])
    assert set(view.take_sample(99.0)["values"].values()) == {None}
    view.observe_worker(A, Worker().work(num_records=3), 100.0)
    values = view.take_sample(100.0)["values"]
    assert (values["records_s"], values["p99_ms"]) == (None, None)


def test_a_restarted_worker_has_no_negative_rate() -> None:
    """After a restart the counters start at zero, and the rate counts from there."""
    view = LiveView([A])
    view.observe_worker(A, Worker().work(num_records=1000), 100.0)
    view.observe_worker(A, Worker().work(num_records=4), 102.0)
    assert view.take_sample(102.0)["values"]["records_s"] == 2


def offsets(committed: int, end: int, owner: str | None = "w1") -> list[PartitionOffsets]:
    """Return the offsets of one partition."""
    return [PartitionOffsets("texts", 0, committed, end, owner)]


def test_brokers_alone_give_rates_and_backlog() -> None:
    """Without an address of a worker, the committed offsets give rate, lag and time to drain."""
    view = LiveView([])
    view.observe_group(["w1"], offsets(100, 200), 100.0)
    view.observe_group(["w1"], offsets(120, 240), 102.0)
    sample = view.take_sample(102.0)
    assert (sample["values"]["records_s"], sample["values"]["backlog"], sample["values"]["backlog_s"]) == (10, 120, 12)
    (row,) = sample["partitions"]
    assert (row["arriving_s"], row["done_s"], row["lag"], row["drain_s"], row["owner"]) == (20, 10, 120, 12, "w1")


def test_events_of_the_group_are_marks() -> None:
    """Rebalances, rollouts, failures and workers that come and go are marks with their time."""
    view, worker = LiveView([A]), Worker()
    view.observe_worker(A, worker.page(), 100.0)
    view.observe_group(["w1"], offsets(0, 0), 100.0)
    worker.telemetry.rebalance("assigned", ["texts-0"])
    worker.telemetry.models(["m@2"])
    worker.telemetry.session_ended("texts-0", RuntimeError("lost"))
    view.observe_worker(A, worker.page(), 102.0)
    view.observe_failure(A, "refused", 104.0)
    view.observe_failure(A, "refused", 106.0)
    view.observe_worker(A, worker.page(), 108.0)
    view.observe_group(["w1", "w2"], offsets(0, 0), 110.0)
    view.observe_broker_failure("no answer", 112.0)
    view.observe_group(["w1", "w2"], offsets(0, 0), 114.0)
    marks = [(mark["t"], mark["kind"], mark["text"]) for mark in view.list_marks(120.0)]
    assert marks == [
        (102, "rebalance", f"{A}: partitions assigned"),
        (102, "failure", f"{A}: partition session ended: RuntimeError"),
        (102, "rollout", f"{A}: model m@2 is loaded"),
        (104, "failure", f"{A} does not answer: refused"),
        (108, "worker", f"{A} answers again"),
        (110, "rebalance", "members of the group: 2, before: 1"),
        (112, "failure", "brokers: no answer"),
        (114, "broker", "the brokers answer again"),
    ]
    assert [mark["t"] for mark in view.list_marks(711.0)] == [112, 114]


def test_the_series_cover_ten_minutes() -> None:
    """Older samples are dropped from every series."""
    view = LiveView([])
    for number in range(1000):
        view.take_sample(1000.0 + 2 * number)
    series = view.list_series()
    assert {len(values) for values in series.values()} == {301}
    assert (series["t"][0], series["t"][-1]) == (2398.0, 2998.0)


@given(st.lists(st.floats(0.001, 9.0), min_size=1, max_size=50))
def test_a_quantile_is_in_the_bucket_of_the_value(values: list[float]) -> None:
    """The estimate of the median differs from the median by at most the width of its bucket."""
    bounds = [0.01, 0.1, 1.0, 10.0, float("inf")]
    buckets = {bound: float(sum(value <= bound for value in values)) for bound in bounds}
    estimate = estimate_quantile(buckets, 0.5)
    median = sorted(values)[(len(values) - 1) // 2]
    upper = next(bound for bound in bounds if median <= bound)
    assert estimate is not None
    assert ([0.0, *bounds])[bounds.index(upper)] <= estimate <= upper


def test_histograms_without_observations_have_no_quantile() -> None:
    """Equal pages have no latency; a bucket without an upper bound gives the last bound."""
    buckets = {0.1: 3.0, float("inf"): 4.0}
    assert estimate_quantile(subtract_buckets(buckets, buckets), 0.5) is None
    assert estimate_quantile({}, 0.5) is None
    assert estimate_quantile(add_buckets([buckets, buckets]), 0.99) == pytest.approx(0.1)
    assert subtract_buckets({0.1: 1.0}, buckets) == {0.1: 1.0}


def test_a_page_that_is_no_metrics_page_is_refused() -> None:
    """Another server at the address is an error and not an empty page."""
    with pytest.raises(ValueError, match=r"."):
        MetricsPage.parse("<html>{")
