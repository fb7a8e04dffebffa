"""The report: the figures that one compares, the tables and the picture, of results that never ran."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from worker.bench.stream import report as stream_report
from worker.bench.stream.offered import Latency
from worker.bench.stream.results import EngineRate, LoadResult, Peer, Stream, StreamResults, Trickle
from worker.bench.stream.tally import Throughput
from worker.bench.stream.usage import Usage

if TYPE_CHECKING:
    from pathlib import Path


def results(*, has_peer: bool = True) -> StreamResults:
    """Return what a run may find."""
    loads = [LoadResult(it, 900 * it, 890 * it, Latency(20.0, 40.0, 60.0 + it), 3.0) for it in (0.25, 0.9)]
    trickle = Trickle(Latency(14.0, 18.0, 22.0), {"tokenize": 0.5, "infer": 6.0, "encode": 0.1, "publish": 1.5}, 8.6)
    rounds = [Throughput(per_s, per_s * 25) for per_s in (880, 900, 990)]
    engines_per_s = [1_100.0, 900.0, 1_100.0, 900.0]
    one = Stream("at_least_once", 1, 2, 4.5, rounds, engines_per_s, 0.9, Usage(1.6, 900, 950), Usage(0.3, 400, 400), loads, trickle)
    two = Stream(
        "at_least_once", 2, 1, 4.7, [Throughput(950, 23_750)], [1_000], 0.85, Usage(1.7, 1_800, 1_900), None, loads, None, 1, 2
    )
    engines = [EngineRate(per_s, per_s * 25, "cpu bfloat16 compiled, 2 threads", 6.0) for per_s in (950.0, 1_050.0)]
    return StreamResults(
        {"cores": 2}, engines, [one, two], Peer(300, "bfloat16") if has_peer else None, ["quick: less of everything"]
    )


def test_the_summary_has_the_figures_that_one_compares() -> None:
    """Of the first way to run the workers, each part against the engine around it; losses are those of all."""
    summary = results().summary()
    assert summary["messages_per_s"] == 900
    assert summary["vs_engine"] == pytest.approx(0.9)
    assert summary["broker_cost"] == pytest.approx(0.1)
    assert summary["vs_peer"] == pytest.approx(3)
    assert summary["p50_ms"] == {"25%": 20.0, "90%": 20.0}
    assert summary["p99_ms"]["90%"] == pytest.approx(60.9)
    assert (summary["rss_mib"], summary["start_s"]) == (950, 4.5)
    assert (summary["lost"], summary["duplicated"]) == (1, 2)
    assert (summary["trickle_p50_ms"], summary["trickle_inside_p50_ms"], summary["bare_pass_p50_ms"]) == (14, 8.6, 6)


def test_what_was_not_measured_is_null() -> None:
    """In JSON too, which has no word for not-a-number."""
    without = results(has_peer=False)
    without.engines.clear()
    without.streams[0].engines_per_s = [0.0]
    without.streams[0].rounds = without.streams[0].rounds[:1]
    assert math.isnan(without.engine_per_s)
    read = json.loads(stream_report.as_json(without))
    assert read["summary"]["vs_engine"] is None
    assert read["summary"]["vs_peer"] is None
    assert read["streams"][0]["loads"][1]["latency"]["p95_ms"] == 40
    assert read["streams"][1]["broker"] is None
    assert (read["streams"][1]["capacity"]["messages_per_s"], read["streams"][1]["vs_engine"]) == (950, 0.95)


def test_the_tables_say_everything_once() -> None:
    """Who, how fast, how long, and what was lost."""
    console = Console(file=io.StringIO(), width=132)
    stream_report.show(console, results())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("2 workers, at least once", "90.0%", "peer, bfloat16", "p99 ms", "lost 1, duplicated 2", "quick: less", "8.6 ms"):
        assert part in shown


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    """As PNG, with and without a peer."""
    for has_peer in (True, False):
        stream_report.plot(results(has_peer=has_peer), tmp_path / "stream.png")
        assert (tmp_path / "stream.png").read_bytes().startswith(b"\x89PNG")
