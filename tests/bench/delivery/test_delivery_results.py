"""The results: what stands beside what, the medians, and the figures that one compares."""

from __future__ import annotations

import math
from typing import Any

import pytest

from worker.bench.delivery.results import DeliveryMode, DeliveryResults, DeliveryRun, Work
from worker.bench.stream.offered import Latency

BESIDE, MAIN = DeliveryMode(8), DeliveryMode(8, 100)


def made(way: DeliveryMode, messages_per_s: float, **changed: Any) -> DeliveryRun:
    """Return a run with figures that are easy to reckon with."""
    fields: dict[str, Any] = {
        "way": way,
        "start_s": 3.0,
        "messages_per_s": messages_per_s,
        "backlog": Work(0.4, 0.1, 50.0, 10.0),
        "offered_per_s": 500.0,
        "latency": Latency(50.0, 90.0, 120.0) if way.interval_ms is None else Latency(1.0 * way.interval_ms, 200.0, 300.0),
        "sender_late_p99_ms": 3.0,
        "load": Work(0.6, 0.2, 5.0, 9.0) if way.interval_ms is None else Work(0.9, 0.3, 12.0, 11.0),
        "lost": 0,
        "duplicated": 0,
    }
    return DeliveryRun(**fields | changed)


def results() -> DeliveryResults:
    """Return a whole run: three rounds, two other intervals, and two partitions."""
    runs = [
        *(made(BESIDE, 1_000), made(MAIN, 800), made(BESIDE, 1_000), made(MAIN, 900), made(BESIDE, 1_000)),
        *(
            made(MAIN, 1_100),
            made(BESIDE, 1_200),
            made(DeliveryMode(8, 10), 600),
            made(DeliveryMode(8, 300), 950),
            made(BESIDE, 1_000, duplicated=2),
        ),
        *(made(DeliveryMode(2), 2_000), made(DeliveryMode(2, 100), 1_500)),
    ]
    return DeliveryResults({"cores": 2}, MAIN, runs, ["how it was measured"])


def test_an_exactly_once_run_is_compared_with_what_stands_beside_it() -> None:
    """Before it, after it, or both; with as many partitions, and whatever the machine did the rest of the time."""
    found = results()
    assert found.ratio(MAIN) == pytest.approx(0.9)
    assert found.ratio(DeliveryMode(8, 10)) == pytest.approx(600 / 1_200)
    assert found.ratio(DeliveryMode(8, 300)) == pytest.approx(950 / 1_000)
    assert found.ratio(DeliveryMode(2, 100)) == pytest.approx(0.75)
    assert found.ratio(MAIN, lambda it: it.load.worker_ms) == pytest.approx(1.5)


def test_what_stands_beside_nothing_has_no_ratio() -> None:
    """Neither has what was never measured."""
    found = DeliveryResults({}, MAIN, [made(DeliveryMode(2), 1_000), made(MAIN, 900)])
    assert math.isnan(found.ratio(MAIN))
    assert math.isnan(found.ratio(BESIDE))
    assert math.isnan(found.median(BESIDE, lambda it: it.messages_per_s))
    assert math.isnan(DeliveryResults({}, MAIN, [made(BESIDE, 0), made(MAIN, 900)]).ratio(MAIN))


def test_the_ways_stand_in_order() -> None:
    """By partitions, at least once first."""
    assert results().ways == [DeliveryMode(2), DeliveryMode(2, 100), BESIDE, DeliveryMode(8, 10), MAIN, DeliveryMode(8, 300)]
    assert [it.name for it in (DeliveryMode(1), MAIN)] == ["1 partition, at least once", "8 partitions, exactly once, 100 ms"]
    assert [it.delivery for it in (BESIDE, MAIN)] == ["at_least_once", "exactly_once"]


def test_the_summary_has_the_figures_that_one_compares() -> None:
    """By interval and by partitions; what is lost or repeated is that of all runs."""
    summary = results().summary()
    assert summary["exactly_once_ratio"] == pytest.approx(0.9)
    assert summary["exactly_once_cost"] == pytest.approx(0.1)
    assert (summary["num_rounds"], summary["interval_ms"], summary["partitions"]) == (3, 100, 8)
    assert (summary["messages_per_s"], summary["at_least_once_messages_per_s"]) == (900, 1_000)
    assert summary["ratio_by_interval_ms"] == {name: pytest.approx(it) for name, it in {"10": 0.5, "100": 0.9, "300": 0.95}.items()}
    assert summary["ratio_by_partitions"] == {"2": pytest.approx(0.75), "8": pytest.approx(0.9)}
    assert summary["p50_ms_by_interval_ms"] == {"10": 10, "100": 100, "300": 300}
    assert (summary["at_least_once_p50_ms"], summary["at_least_once_p99_ms"]) == (50, 120)
    assert (summary["lost"], summary["exactly_once_duplicated"], summary["at_least_once_duplicated"]) == (0, 0, 2)


def test_what_was_not_measured_is_null() -> None:
    """A broker elsewhere shows no clock."""
    unknown = Work(0.4, math.nan, 50.0, 10.0)
    summary = DeliveryResults({}, MAIN, [made(BESIDE, 10, backlog=unknown), made(MAIN, 9, backlog=unknown)]).summary()
    assert summary["broker_cpu_ratio"] is None
    assert summary["worker_cpu_ratio"] == 1
    nothing = DeliveryResults({}, MAIN).summary()
    assert nothing["exactly_once_ratio"] is None
    assert nothing["ratio_by_interval_ms"] == {}
