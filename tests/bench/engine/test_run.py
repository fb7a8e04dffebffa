"""A small run with real processes, models and rounds, and the comparison with fp32."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.conftest import SENTENCES
from worker.bench.engine import plan as plans
from worker.bench.engine.report import build_report
from worker.bench.engine.run import run
from worker.bench.engine.workload import REAL
from worker.settings import DEFAULT_MODEL

BATCHING = {"max_batch_tokens": 256, "max_batch_records": 64, "resume_in_flight_tokens": 512, "max_poll_records": 64}
TINY = replace(
    plans.build_plan(is_quick=True, is_gpu=False), panels=((plans.MINILM, REAL),), num_rounds=1, box_s=0.01, num_mixture=16,
    num_compared=4, candidates=(plans.AUTO, plans.build_plan(is_quick=True, is_gpu=False).candidates[-1]), timeout_s=150,
)  # fmt: skip


@pytest.mark.model
@pytest.mark.timeout(400)
def test_a_small_run_has_every_figure() -> None:
    """The engine, the bare matrix products and the comparison with fp32 have figures."""
    said: list[str] = []
    results = run(TINY, threads=2, gpu="", batching=BATCHING, checkpoint=DEFAULT_MODEL, texts=SENTENCES, say=said.append)
    summary = build_report(results).summary
    assert not results.panels[0].missing
    assert summary["texts_per_s"] > 0
    assert summary["processor_time_ratio"] > 0
    assert all(share > 0 for share in summary["of_products"].values())
    assert summary["min_cosine"]["auto"] > 0.99
    assert "float32" in summary["measured_by_auto"]
    assert said


@pytest.mark.model
def test_without_the_real_corpus_the_rest_runs() -> None:
    """The results name the missing corpus."""
    results = run(TINY, threads=2, gpu="", batching=BATCHING, checkpoint=DEFAULT_MODEL, texts=[], say=lambda _: None)
    assert "the real corpus, which could not be fetched" in results.left_out
    assert (results.panels, results.exactness) == ([], {})
