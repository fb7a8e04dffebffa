"""The report of each benchmark: the claim, the summary and the tables."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tests.bench.results import (
    BENCHMARKS,
    build_api_results,
    build_backfill_results,
    build_delivery_results,
    build_encoders_results,
    build_engine_results,
    build_scale_results,
    build_stream_results,
)
from worker.bench.api.report import build_report as report_api
from worker.bench.backfill.report import build_report as report_backfill
from worker.bench.delivery.report import build_report as report_delivery
from worker.bench.delivery.report import compare_with_adjacent
from worker.bench.delivery.run import build_mode
from worker.bench.encoders.report import build_report as report_encoders
from worker.bench.engine.report import build_report as report_engine
from worker.bench.engine.run import EngineResults
from worker.bench.scale.report import build_report as report_scale
from worker.bench.stream.modes import ModeResults
from worker.bench.stream.report import build_report as report_stream


@pytest.mark.parametrize("name", BENCHMARKS)
def test_json_has_summary_machine_notes_and_tables(name: str) -> None:
    """A figure that was not measured is null, and an empty cell in the tables."""
    results, report = BENCHMARKS[name]
    built = report(results())
    assert json.loads(built.to_json("a")).keys() == {"command", "commit", "date", "summary", "machine", "notes", "tables"}
    assert not [cell for table in built.tables for row in table.cells() for cell in row if "nan" in cell]


def test_the_engine_is_compared_with_baselines_and_its_own_products() -> None:
    """Each arithmetic is compared with the faster bare products of the same arithmetic."""
    report = report_engine(build_engine_results())
    summary = report.summary
    assert (summary["engine"], summary["texts_per_s"]) == ("GIST Stream, auto (int16)", 100)
    assert (summary["vs_first"], summary["vs_best_padded"], summary["best_padded"]) == (10, 2, "tuned bf16")
    assert summary["int8_vs_best"] == 2
    assert summary["of_products"] == {"GIST Stream, int8": 0.5, "GIST Stream, auto (int16)": 0.5}
    assert summary["processor_time_ratio"] == pytest.approx(1.2)
    assert summary["min_cosine"] == {"auto": 0.9999, "int8": 0.994}
    assert summary["measured_by_auto"] == {"float32": 60, "int16": 100}
    assert report.claim == "GIST Stream, auto (int16): 100 texts/s, 2.0 times the fastest baseline (tuned bf16)"
    assert "not measured: OpenVINO: openvino is not installed" in report.notes
    assert "left out: the rest" in report.notes
    assert report.tables[0].cells()[0][:4] == ["GIST Stream, auto (int16)", "100", "80 to 120", "1.00"]


def test_the_front_page_ends_with_the_engine() -> None:
    """The first row is the baseline as first written."""
    conditions, rows = report_engine(build_engine_results()).front_page
    assert "2 cores of Xeon with AMX" in conditions
    assert rows == [("baseline: first fp32", 10), ("tuned bf16", 50), ("GIST Stream, auto (int16)", 100)]


def test_an_engine_benchmark_without_results_is_a_report() -> None:
    """The keys of the summary are the same."""
    report = report_engine(EngineResults(machine={}))
    assert report.summary.keys() == report_engine(build_engine_results()).summary.keys()
    assert (report.claim, report.front_page) == ("no engine was measured", ("", []))


def test_the_stream_is_compared_with_engine_and_baseline() -> None:
    """Losses are those of all streams."""
    report = report_stream(build_stream_results(lost=1))
    assert "900 records/s, 0.90 of the engine without a broker, 3.0 times the tuned baseline; lost 1" in report.claim
    expected = {"peak_mib": 200, "loop_us": 80, "sustained": 0.875, "p50_at_75_ms": 60, "vs_bare_pass": 1.43, "start_s": 0.9}
    assert {name: report.summary[name] for name in expected} == expected
    assert (report.is_good, report.summary["lost"], report.summary["repeated"]) == (False, 1, 3)


def test_exactly_once_is_compared_with_adjacent_runs() -> None:
    """Runs before and after with the same number of partitions count, and no others."""
    report = report_delivery(build_delivery_results())
    for mode, ratio in (
        (build_mode(8, 100), 0.9),
        (build_mode(8, 10), 0.5),
        (build_mode(8, 300), 0.95),
        (build_mode(2, 100), 0.75),
    ):
        assert report.summary["ratios"].pop(mode.full_name) == pytest.approx(ratio)
    assert report.summary["ratios"] == {}
    assert report.summary["worker_ms_ratio"] == pytest.approx(1.5)
    assert report.claim.startswith(
        "Exactly-once has 0.90 of the throughput of at-least-once (8 partitions, 100 ms, exactly once, 3 "
    )
    modes = [build_mode(2), build_mode(2, 100), build_mode(8), build_mode(8, 10), build_mode(8, 100), build_mode(8, 300)]
    assert report.tables[0].runs.names == [mode.full_name for mode in modes]


def test_a_run_without_a_reference_has_no_ratio() -> None:
    """The claim says that the share is unknown."""
    alone = ModeResults(machine={})
    alone.modes.append(build_mode(8, 100))
    alone.runs.add(build_mode(8, 100).full_name, records_per_s=1.0, lost=0, repeated=0)
    assert math.isnan(compare_with_adjacent(alone).median(build_mode(8, 100).full_name, "ratio"))
    assert "an unknown share" in report_delivery(alone).claim


@pytest.mark.parametrize(
    ("results", "is_good"),
    [
        (report_delivery(build_delivery_results()), True),
        (report_delivery(build_delivery_results(lost=1)), False),
        (report_delivery(build_delivery_results(repeated=1)), False),
        (report_scale(build_scale_results()), True),
        (report_scale(build_scale_results(lost=1)), False),
        (report_scale(build_scale_results(repeated=1)), False),
    ],
)
def test_losses_and_repetitions_of_exactly_once_are_bad(results: Any, *, is_good: bool) -> None:
    """At-least-once delivery may repeat outputs."""
    assert results.is_good is is_good


def test_scaling_is_relative_to_the_first_mode_of_a_delivery() -> None:
    """The changes of the group have a table of their own."""
    report = report_scale(build_scale_results())
    assert report.claim.startswith("two, at least once: 1.80 times the throughput of one; lost 0")
    assert report.summary["relative"] == {"one, at least once": 1, "two, at least once": 1.8, "one, exactly once": 1}
    assert report.summary["takeover_s"]["kill, consumer protocol, at least once"] == 6.5
    assert "consumer protocol: the takeover after a kill, in seconds: 6.50, at most 7 wanted" in report.notes
    assert (report.title, len(report.tables)) == ("Replicas and rebalances", 2)


def test_one_worker_is_compared_with_a_worker_for_each_model() -> None:
    """The ratios are those of medians."""
    report = report_encoders(build_encoders_results())
    assert report.claim == "one worker with all models takes 0.75 times as long and 0.75 times the memory; lost 0"
    assert report.summary["ratio"]["start_s"] == 0.5


def test_queries_are_compared_with_a_bare_pass_a_baseline_and_a_stream_alone() -> None:
    """Differences and ratios are those of medians."""
    report = report_api(build_api_results())
    assert report.summary["over_bare_pass_ms"] == {"query, in process": 0.5, "query, over HTTP": 1.5}
    assert report.summary["ratio"] == {"queries_per_s": 4, "p99_of_stream": 1.05}
    assert "1.50 ms more than a bare pass, 0.50 ms of that in process; 4.00 times the queries/s of the baseline" in report.claim


def test_backfill_is_compared_with_the_same_load_alone() -> None:
    """The ratios are those of medians."""
    report = report_backfill(build_backfill_results())
    words = "p99 of live records with a backfill is 1.10 times at 25% load, 1.25 times at 50% load of p99 without one; lost 0"
    assert report.claim == words
    assert "1,000 records/s" in report.tables[0].title
