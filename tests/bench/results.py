"""Results of each benchmark with simple figures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from worker.bench.api.report import build_report as report_api
from worker.bench.api.run import ALONE, BARE, BASELINE, IN_PROCESS, OURS, OVER_HTTP, WITH_QUERIES, ApiResults
from worker.bench.backfill.report import build_report as report_backfill
from worker.bench.backfill.run import BackfillResults, name_turn
from worker.bench.delivery.report import build_report as report_delivery
from worker.bench.delivery.run import build_mode
from worker.bench.encoders.report import build_report as report_encoders
from worker.bench.encoders.run import APART, TOGETHER, EncodersResults
from worker.bench.engine.plan import AUTO, GIST_MODEL, INT8, Spec, build_plan
from worker.bench.engine.report import build_report as report_engine
from worker.bench.engine.rounds import CorpusFile, Entry, Panel
from worker.bench.engine.run import EngineResults
from worker.bench.scale.report import build_report as report_scale
from worker.bench.scale.run import ScaleResults
from worker.bench.stream.modes import Mode, ModeResults
from worker.bench.stream.report import build_report as report_stream
from worker.bench.stream.run import ENGINE, StreamResults

if TYPE_CHECKING:
    from collections.abc import Callable

MACHINE = {"processor": "A Xeon", "instructions": "avx2 avx512f amx_int8", "cores": 2}


def build_engine_results() -> EngineResults:
    """Return the results of a small engine benchmark with every kind of candidate, and one that is missing."""
    padded, first, *_, int8, products = build_plan(is_quick=False, is_gpu=False).candidates[5:]
    panel = Panel(GIST_MODEL, CorpusFile(Path(), 10, is_tokenizing=False, mean_tokens=10.0))
    panel.missing.append("OpenVINO: openvino is not installed")
    panel.processor_ms = {"5": 1.2, "160": 1.0}

    def add(name: str, spec: Spec, *rates: float, about: dict[str, Any], way: str = "") -> None:
        process: Any = SimpleNamespace()
        panel.entries.append(Entry(name, spec, process, about, 2.0, {"way": way} if way else {}))
        for rate in rates:
            panel.runs.add(name, texts_per_s=rate, fill=0.5)

    auto = {"dtype": "int16", "reason": "measured here", "texts_per_s": {"float32": 60.0, "int16": 100.0}}
    add("GIST Stream, auto (int16)", AUTO, 80, 120, 100, about=auto)
    add("GIST Stream, int8", INT8, 150, about={"dtype": "int8"})
    add("first fp32", first, 10, about={"dtype": "fp32"})
    add("tuned bf16", padded, 50, about={"dtype": "bf16"})
    add("ONNX int8", int8, 75, about={"dtype": "int8"})
    for way, rate in (("int16, native kernels", 200), ("int8, native kernels", 250), ("int8, oneDNN", 300)):
        add(f"bare products, {way}", products, rate, about={}, way=way)
    exactness = {name: {"num_texts": 9, "min_cosine": cosine} for name, cosine in (("auto", 0.9999), ("int8", 0.994))}
    return EngineResults(machine=MACHINE, panels=[panel], exactness=exactness, left_out=["the rest"], seconds=1.0)


def build_stream_results(*, lost: int = 0) -> StreamResults:
    """Return two streams, of which the first has all figures, and a baseline."""
    results, one, two = StreamResults(MACHINE), "1 worker, at least once", "2 workers, at least once"
    for rate in (950.0, 1_050.0):
        results.throughput.add(ENGINE, records_per_s=rate, bare_pass_ms=6.0)
    for rate in (880.0, 900.0, 990.0):
        results.throughput.add(one, records_per_s=rate, of_engine=rate / 1_000, peak_mib=200.0, loop_us=80.0, lost=0, repeated=1)
    results.throughput.add(two, records_per_s=950.0, lost=lost)
    results.throughput.add("baseline, SentenceTransformers fp32", records_per_s=300.0)
    results.latency.add(f"{one}, 75.0% of the backlog rate", share=0.75, p50_ms=60.0, p99_ms=120.0)
    results.workers.add(one, start_s=0.9, sustained=0.875, p50_at_75_ms=60.0, single_inside_ms=8.6, vs_bare_pass=1.43)
    results.workers.add(two, start_s=1.0)
    return results


def build_delivery_results(*, lost: int = 0, repeated: int = 0) -> ModeResults:
    """Return three rounds, two other intervals, and two partitions."""
    results, reference, main = ModeResults(machine=MACHINE), build_mode(8), build_mode(8, 100)
    pairs = [(reference, 1_000), (main, 800), (reference, 1_000), (main, 900), (reference, 1_000), (main, 1_100)]
    pairs += [(reference, 1_200), (build_mode(8, 10), 600), (build_mode(8, 300), 950), (reference, 1_000)]
    for mode, rate in [*pairs, (build_mode(2), 2_000), (build_mode(2, 100), 1_500)]:
        is_exact = mode.delivery == "exactly_once"
        figures = {"records_per_s": rate, "p99_ms": 120.0, "worker_ms": 0.9 if is_exact else 0.6}
        results.modes.append(mode)
        results.runs.add(mode.full_name, **figures, lost=lost, repeated=repeated if is_exact else 1)
    return results


def build_scale_results(*, lost: int = 0, repeated: int = 0) -> ScaleResults:
    """Return three points and two changes."""
    results = ScaleResults(ModeResults(machine=MACHINE))
    for name, delivery, rate in (("one", "at_least_once", 1_000), ("two", "at_least_once", 1_800), ("one", "exactly_once", 900)):
        mode = Mode(name=name, delivery=delivery)
        results.points.modes.append(mode)
        is_exact = delivery == "exactly_once"
        results.points.runs.add(mode.full_name, records_per_s=rate, idle_mib=560, lost=lost, repeated=repeated if is_exact else 3)
    results.changes.add("kill, consumer protocol, at least once", stays_beyond_s=0.02, takeover_s=6.5, redone=40, lost=0)
    results.changes.add("rolling, static members, exactly once", redone=0, lost=0)
    return results


def build_backfill_results() -> BackfillResults:
    """Return two loads, one of them with three rounds."""
    results = BackfillResults(MACHINE, (0.25, 0.5), capacity_per_s=1_000.0)
    for share, alone, both in ((0.5, 40, 50), (0.25, 10, 12), (0.25, 20, 22), (0.25, 900, 900)):
        results.turns.add(name_turn(share, has_backfill=False), p99_ms=alone)
        results.turns.add(name_turn(share, has_backfill=True), p99_ms=both, backfill_per_s=300)
    return results


def build_encoders_results() -> EncodersResults:
    """Return two rounds of several models in one worker, and in a worker for each."""
    results = EncodersResults(MACHINE)
    for together, apart in ((10.0, 12.0), (14.0, 20.0)):
        results.runs.add(TOGETHER, seconds=together, peak_mib=300, start_s=2, lost=0)
        results.runs.add(APART, seconds=apart, peak_mib=400, start_s=4, lost=0)
    return results


def build_api_results() -> ApiResults:
    """Return two rounds of all measurements."""
    results = ApiResults(MACHINE)
    for bare, inside, over_http in ((1.0, 1.5, 2.0), (2.0, 2.5, 4.0)):
        for name, milliseconds in ((BARE, bare), (IN_PROCESS, inside), (OVER_HTTP, over_http)):
            results.lone.add(name, ms=milliseconds)
    for ours, baseline in ((900.0, 200.0), (1_100.0, 300.0)):
        results.clients.add(OURS, queries_per_s=ours, p50_ms=30, p99_ms=40)
        results.clients.add(BASELINE, queries_per_s=baseline, p50_ms=120, p99_ms=150)
    for alone, with_queries in ((40.0, 44.0), (60.0, 61.0)):
        results.stream.add(ALONE, p50_ms=20, p99_ms=alone, offered_per_s=500)
        results.stream.add(WITH_QUERIES, p50_ms=21, p99_ms=with_queries, offered_per_s=500)
    return results


#: Results and report of each benchmark.
BENCHMARKS: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "stream": (build_stream_results, report_stream),
    "api": (build_api_results, report_api),
    "delivery": (build_delivery_results, report_delivery),
    "encoders": (build_encoders_results, report_encoders),
    "backfill": (build_backfill_results, report_backfill),
    "scale": (build_scale_results, report_scale),
    "engine": (build_engine_results, report_engine),
}


def read_png_start(path: Path) -> bytes:
    """Return the first bytes of a file, which name its type."""
    return path.read_bytes()[:4]
