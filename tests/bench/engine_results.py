"""Results of a small engine benchmark with simple figures."""

from __future__ import annotations

from worker.bench.engine.measures import CorpusResults, EngineResults, Entry, Sample
from worker.bench.engine.plan import BASELINE, GIST_MODEL
from worker.bench.engine.workload import MIXTURE

EXACTNESS = {
    "num_texts": 9, "min_cosine_to_fp32": 0.998, "min_cosine": 0.9981, "p01_cosine": 0.999, "mean_cosine": 0.9995,
    "label_agreement": 0.99, "entity_f1": 0.98,
}  # fmt: skip


def build_sample(tokens_per_s: float, *, fill: float = 1.0) -> Sample:
    """Return a sample of one second."""
    return Sample(num_messages=10, num_tokens=int(tokens_per_s), num_rows=int(tokens_per_s / fill), seconds=1.0)


def build_panel() -> CorpusResults:
    """Return a panel with every kind of entry; a text has 10 tokens on average."""
    entries = [
        Entry(name="GIST Stream, eager", kind="gist", samples=[build_sample(400)], peak_bytes=1 << 20, warm_start_s=2.0),
        Entry(
            name="GIST Stream, compiled", kind="gist", is_chosen=True, peak_bytes=1 << 30, warm_start_s=2.0, cold_start_s=20.0,
            samples=[build_sample(rate, fill=0.5) for rate in (800, 1200, 1000)],
        ),
        Entry(name="GIST Stream, int8", kind="gist", samples=[build_sample(1500)]),
        Entry(name=BASELINE, kind="baseline", samples=[build_sample(100)]),
        Entry(name="best", kind="baseline", samples=[build_sample(500)]),
        Entry(name="bare", kind="roofline", samples=[build_sample(2000)]),
        Entry(name="absent", kind="baseline", missing="unavailable: openvino is not installed"),
    ]  # fmt: skip
    return CorpusResults(model=GIST_MODEL, corpus=MIXTURE, num_messages=10, mean_tokens=10.0, caption="how", entries=entries)


def build_results() -> EngineResults:
    """Return the results of a whole run."""
    return EngineResults(
        machine={"cores": 2},
        is_quick=True,
        left_out=["the rest"],
        panels=[build_panel()],
        exactness={"compiled": EXACTNESS, "int8": EXACTNESS | {"min_cosine_to_fp32": 0.99}},
        heads={"heads_share": 0.03, "plain_values_share": 0.02, "heads_and_values_share": 0.05},
        seconds=1.0,
    )
