"""A small run with real processes, models and rounds, and the comparison with fp32."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.bench.conftest import SENTENCES
from worker.bench.engine import plan as plans
from worker.bench.engine.job import Batching
from worker.bench.engine.run import run
from worker.bench.engine.workload import MIXTURE, REAL
from worker.settings import DEFAULT_MODEL

TINY = replace(
    plans.build_plan(is_quick=True, is_gpu=False), corpora={plans.MINILM: (MIXTURE, REAL)}, baselines=(), num_rounds=1,
    box_s=0.01, num_mixture=16, num_compared=4,
    limit_s=150, rounds_s=150, timeout_s=100, left_out=(),
)  # fmt: skip


@pytest.mark.model
def test_a_small_run_has_every_figure() -> None:
    """The chosen backend, the bare matrix products and the comparison with fp32 have figures."""
    said: list[str] = []
    batching = Batching(max_batch_tokens=256, max_batch_records=64, resume_in_flight_tokens=512, max_poll_records=64)
    result = run(TINY, threads=2, device="cpu", batching=batching, checkpoint=DEFAULT_MODEL, texts=SENTENCES, say=said.append)
    assert [(panel.model, panel.corpus) for panel in result.panels] == [(plans.MINILM, MIXTURE), (plans.MINILM, REAL)]
    for panel in result.panels:
        assert panel.chosen is not None, [entry.missing for entry in panel.entries]
        assert (panel.roofline_fraction(panel.chosen) or 0) > 0
        assert 0.5 < panel.chosen.fill <= 1
        assert (panel.chosen.peak_bytes or 0) > 1 << 26
    chosen = result.panels[0].chosen
    assert chosen is not None
    assert result.exactness[chosen.name.removeprefix(plans.name_backend(""))]["min_cosine_to_fp32"] > 0.99
    assert result.heads["heads_share"] < 1
    assert said


@pytest.mark.model
def test_without_the_real_corpus_the_rest_runs() -> None:
    """The results name the missing corpus."""
    plan = replace(TINY, corpora={})
    result = run(
        plan, threads=2, device="cpu", batching=Batching(8, 1, 8, 1), checkpoint=DEFAULT_MODEL, texts=[], say=lambda _: None
    )
    assert result.left_out == ["the real corpus, which could not be fetched"]
    assert (result.panels, result.exactness) == ([], {})
