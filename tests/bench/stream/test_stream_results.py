"""The results and the report of the stream benchmark."""

from __future__ import annotations

import io
import json
import math

import pytest
from rich.console import Console

from worker.bench.stream.load_generator import Latency
from worker.bench.stream.report import build_report
from worker.bench.stream.results import Baseline, EngineRate, LoadResult, SingleRecords, Stream, StreamResults
from worker.bench.stream.tally import Throughput
from worker.bench.stream.usage import Usage


def build_results(*, has_baseline: bool = True, lost: int = 0) -> StreamResults:
    """Return results with simple figures."""
    loads = [LoadResult(share, 900 * share, 890 * share, Latency(20.0, 40.0, 60.0 + share), 3.0) for share in (0.25, 0.9)]
    single = SingleRecords(Latency(14.0, 18.0, 22.0), {"tokenize": 0.5, "infer": 6.0, "encode": 0.1, "publish": 1.5}, 8.6)
    rounds = [Throughput(per_s, per_s * 25) for per_s in (880, 900, 990)]
    engines_per_s = [1_100.0, 900.0, 1_100.0, 900.0]
    worker, broker = Usage(1.6, 900, 950), Usage(0.3, 400, 400)
    one = Stream("at_least_once", 1, 2, 4.5, rounds, engines_per_s, 0.9, worker, broker, loads, single)
    parts = [Throughput(950, 23_750)]
    two = Stream("at_least_once", 2, 1, 4.7, parts, [1_000], 0.85, Usage(1.7, 1_800, 1_900), None, loads, None, lost, 2)
    engines = [EngineRate(per_s, per_s * 25, "cpu bfloat16 compiled, 2 threads", 6.0) for per_s in (950.0, 1_050.0)]
    baseline = Baseline(300, "bfloat16") if has_baseline else None
    return StreamResults({"cores": 2}, engines, [one, two], baseline, ["quick: less work"])


def test_the_summary_describes_the_first_stream() -> None:
    """Each part is compared with the engine runs around it; losses are those of all streams."""
    summary = build_results(lost=1).summary()
    assert summary["messages_per_s"] == 900
    assert summary["vs_engine"] == pytest.approx(0.9)
    assert summary["vs_baseline"] == pytest.approx(3)
    assert summary["p50_ms"] == {"25%": 20.0, "90%": 20.0}
    assert summary["p99_ms"]["90%"] == pytest.approx(60.9)
    assert (summary["rss_mib"], summary["start_s"]) == (950, 4.5)
    assert (summary["lost"], summary["duplicated"]) == (1, 2)
    assert (summary["single_p50_ms"], summary["single_inside_p50_ms"], summary["bare_pass_p50_ms"]) == (14, 8.6, 6)


def test_a_figure_that_was_not_measured_is_null() -> None:
    """JSON has no NaN."""
    found = build_results(has_baseline=False)
    found.engines.clear()
    found.streams[0].engines_per_s = [0.0]
    found.streams[0].rounds = found.streams[0].rounds[:1]
    assert math.isnan(found.engine_per_s)
    read = json.loads(build_report(found).to_json())
    assert (read["summary"]["vs_engine"], read["summary"]["vs_baseline"]) == (None, None)
    assert read["streams"][0]["loads"][1]["latency"]["p95_ms"] == 40
    assert read["streams"][1]["broker"] is None
    assert (read["streams"][1]["capacity"]["messages_per_s"], read["streams"][1]["vs_engine"]) == (950, 0.95)


def test_the_report_shows_throughput_latency_and_losses() -> None:
    """A loss makes the report bad."""
    console = Console(file=io.StringIO(), width=150)
    report = build_report(build_results(lost=1))
    report.show(console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in (
        "2 workers, at least once",
        "0.90",
        "baseline, bfloat16",
        "p99 ms",
        "lost 1",
        "duplicated 2",
        "quick: less",
        "8.6 ms",
    ):
        assert part in shown
    assert "900 records/s, 0.90 of the engine without a broker, 3.0 times the tuned baseline" in report.claim
    assert not report.is_good
