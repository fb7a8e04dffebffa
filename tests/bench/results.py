"""A small run with figures that are easy to reckon with."""

from __future__ import annotations

from worker.bench.engine.measures import CandidateResult, Entry, Panel, Sample
from worker.bench.engine.plan import FIRST_WRITTEN, GIST_SHAPE
from worker.bench.engine.workload import MIXTURE

EXACTNESS = {
    "num_texts": 9, "min_cosine_to_fp32": 0.998, "min_cosine": 0.9981, "p01_cosine": 0.999, "mean_cosine": 0.9995,
    "label_agreement": 0.99, "entity_f1": 0.98,
}  # fmt: skip


def sample(tokens_per_s: float, *, fill: float = 1.0) -> Sample:
    """Return a sample of one second."""
    return Sample(num_messages=10, num_tokens=int(tokens_per_s), num_rows=int(tokens_per_s / fill), seconds=1.0)


def panel() -> Panel:
    """Return a panel with one of everything: the mean text has 10 tokens."""
    entries = [
        Entry(name="ours, eager", kind="ours", samples=[sample(400)], peak_bytes=1 << 20, warm_start_s=2.0),
        Entry(
            name="ours, compiled", kind="ours", is_chosen=True, samples=[sample(it, fill=0.5) for it in (800, 1200, 1000)],
            peak_bytes=1 << 30, warm_start_s=2.0, cold_start_s=20.0,
        ),
        Entry(name="ours, int8", kind="ours", samples=[sample(1500)]),
        Entry(name=FIRST_WRITTEN, kind="padded", samples=[sample(100)]),
        Entry(name="best", kind="padded", samples=[sample(500)]),
        Entry(name="bare", kind="roofline", samples=[sample(2000)]),
        Entry(name="nobody", kind="padded", missing="not here: openvino is not installed"),
    ]  # fmt: skip
    return Panel(shape=GIST_SHAPE, corpus=MIXTURE, num_messages=10, mean_tokens=10.0, caption="how", entries=entries)


def result() -> CandidateResult:
    """Return a whole run."""
    return CandidateResult(
        machine={"cores": 2},
        is_quick=True,
        left_out=["the rest"],
        panels=[panel()],
        exactness={"compiled": EXACTNESS, "int8": EXACTNESS | {"min_cosine_to_fp32": 0.99}},
        heads={"heads_share": 0.03, "plain_values_share": 0.02, "heads_and_values_share": 0.05},
        seconds=1.0,
    )
