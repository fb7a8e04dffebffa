"""The results and the report of the delivery benchmark."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from worker.bench.delivery.report import build_report
from worker.bench.delivery.results import DeliveryMode, DeliveryResults, DeliveryRun, Work
from worker.bench.stream.load_generator import Latency

REFERENCE, MAIN = DeliveryMode(8), DeliveryMode(8, 100)


def build_run(mode: DeliveryMode, messages_per_s: float, **changed: Any) -> DeliveryRun:
    """Return a run with simple figures."""
    fields: dict[str, Any] = {
        "mode": mode,
        "start_s": 3.0,
        "messages_per_s": messages_per_s,
        "backlog": Work(0.4, 0.1, 50.0, 10.0),
        "offered_per_s": 500.0,
        "latency": Latency(50.0, 90.0, 120.0) if mode.interval_ms is None else Latency(1.0 * mode.interval_ms, 200.0, 300.0),
        "sender_late_p99_ms": 3.0,
        "load": Work(0.6, 0.2, 5.0, 9.0) if mode.interval_ms is None else Work(0.9, 0.3, 12.0, 11.0),
        "lost": 0,
        "duplicated": 0,
    }
    return DeliveryRun(**fields | changed)


def build_results() -> DeliveryResults:
    """Return three rounds, two other intervals and two partitions."""
    runs = [
        *(
            build_run(REFERENCE, 1_000),
            build_run(MAIN, 800),
            build_run(REFERENCE, 1_000),
            build_run(MAIN, 900),
            build_run(REFERENCE, 1_000),
        ),
        *(
            build_run(MAIN, 1_100),
            build_run(REFERENCE, 1_200),
            build_run(DeliveryMode(8, 10), 600),
            build_run(DeliveryMode(8, 300), 950),
            build_run(REFERENCE, 1_000, duplicated=2),
        ),
        *(build_run(DeliveryMode(2), 2_000), build_run(DeliveryMode(2, 100), 1_500)),
    ]
    return DeliveryResults({"cores": 2}, MAIN, runs, ["the conditions"])


def test_exactly_once_is_compared_with_adjacent_runs() -> None:
    """Runs before and after with the same number of partitions count, and no others."""
    found = build_results()
    assert found.ratio(MAIN) == pytest.approx(0.9)
    assert found.ratio(DeliveryMode(8, 10)) == pytest.approx(600 / 1_200)
    assert found.ratio(DeliveryMode(8, 300)) == pytest.approx(950 / 1_000)
    assert found.ratio(DeliveryMode(2, 100)) == pytest.approx(0.75)
    assert found.ratio(MAIN, lambda run: run.load.worker_ms) == pytest.approx(1.5)


def test_a_run_without_a_reference_has_no_ratio() -> None:
    """A mode without a run has neither ratio nor median."""
    found = DeliveryResults({}, MAIN, [build_run(DeliveryMode(2), 1_000), build_run(MAIN, 900)])
    assert math.isnan(found.ratio(MAIN))
    assert math.isnan(found.ratio(REFERENCE))
    assert math.isnan(found.median(REFERENCE, lambda run: run.messages_per_s))
    assert math.isnan(DeliveryResults({}, MAIN, [build_run(REFERENCE, 0), build_run(MAIN, 900)]).ratio(MAIN))


def test_modes_are_in_order() -> None:
    """Modes are sorted by partitions and interval, at-least-once first."""
    assert build_results().modes == [
        DeliveryMode(2),
        DeliveryMode(2, 100),
        REFERENCE,
        DeliveryMode(8, 10),
        MAIN,
        DeliveryMode(8, 300),
    ]
    assert [mode.name for mode in (DeliveryMode(1), MAIN)] == ["1 partition, at least once", "8 partitions, exactly once, 100 ms"]
    assert [mode.delivery for mode in (REFERENCE, MAIN)] == ["at_least_once", "exactly_once"]


def test_the_summary_has_figures_by_interval_and_partitions() -> None:
    """Losses and repetitions are those of all runs."""
    summary = build_results().summary()
    assert summary["exactly_once_ratio"] == pytest.approx(0.9)
    assert (summary["num_rounds"], summary["interval_ms"], summary["partitions"]) == (3, 100, 8)
    assert (summary["messages_per_s"], summary["at_least_once_messages_per_s"]) == (900, 1_000)
    assert summary["ratio_by_interval_ms"] == {"10": pytest.approx(0.5), "100": pytest.approx(0.9), "300": pytest.approx(0.95)}
    assert summary["ratio_by_partitions"] == {"2": pytest.approx(0.75), "8": pytest.approx(0.9)}
    assert summary["p50_ms_by_interval_ms"] == {"10": 10, "100": 100, "300": 300}
    assert (summary["at_least_once_p50_ms"], summary["at_least_once_p99_ms"]) == (50, 120)
    assert (summary["lost"], summary["exactly_once_duplicated"], summary["at_least_once_duplicated"]) == (0, 0, 2)


def test_a_figure_that_was_not_measured_is_null_or_blank() -> None:
    """The processor time of a broker elsewhere is unknown."""
    unknown = Work(0.4, math.nan, 50.0, 10.0)
    runs = [build_run(REFERENCE, 10, backlog=unknown), build_run(MAIN, 9, backlog=unknown)]
    summary = json.loads(build_report(DeliveryResults({}, MAIN, runs)).to_json())["summary"]
    assert (summary["broker_cpu_ratio"], summary["worker_cpu_ratio"]) == (None, 1)
    nothing = DeliveryResults({}, MAIN).summary()
    assert math.isnan(nothing["exactly_once_ratio"])
    assert nothing["ratio_by_interval_ms"] == {}
    report = build_report(DeliveryResults({}, MAIN, [build_run(REFERENCE, 1_000)]))
    assert "an unknown share" in report.claim
    assert all("nan" not in cell for row in report.tables[0].rows for cell in row)


def test_the_report_has_a_row_for_each_mode() -> None:
    """The claim is about the main mode."""
    report = build_report(build_results())
    assert report.claim.startswith(
        "Exactly-once has 0.90 of the throughput of at-least-once (8 partitions, exactly once, 100 ms, 3 "
    )
    assert [row[0] for row in report.tables[0].rows] == [mode.name for mode in build_results().modes]
    assert list(report.tables[0].rows[5][:4]) == ["8 partitions, exactly once, 300 ms", "1", "0.95", "950"]
    assert json.loads(report.to_json())["runs"][1]["mode"] == {"num_partitions": 8, "interval_ms": 100}
