"""The plans of the engine benchmark."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.engine import plan
from worker.bench.engine.candidates import serve
from worker.bench.engine.workload import MIXTURE, REAL


@given(st.floats(1e-5, 100), st.floats(0.1, 10), st.integers(1, 5000), st.integers(1, 256))
def test_a_question_has_whole_batches_or_the_whole_corpus(each_s: float, box_s: float, num_texts: int, batch_size: int) -> None:
    """The number fits the time, but is at least one batch."""
    num = plan.fit_texts(each_s, box_s, num_texts=num_texts, batch_size=batch_size)
    assert 1 <= num <= num_texts
    assert num == num_texts or num % batch_size == 0
    assert num <= max(batch_size, box_s / each_s)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 8))
def test_time_is_divided_equally(now_s: float, until_s: float, num_parts: int) -> None:
    """Equal parts fill the remaining time; after the end a part is empty."""
    first = plan.divide_time(now_s, until_s, num_parts)
    assert now_s <= first <= max(now_s, until_s) * (1 + 1e-9)
    assert plan.divide_time(now_s, until_s, 1) == pytest.approx(max(now_s, until_s))


def test_the_whole_plan_has_every_model_corpus_and_candidate() -> None:
    """The whole plan leaves nothing out."""
    full = plan.build_plan(is_quick=False, is_gpu=False)
    assert full.corpora == dict.fromkeys((plan.GIST_MODEL, plan.MINILM), (MIXTURE, REAL))
    assert {spec.role for spec in full.baselines} | {"gist_engine", "roofline", "compare_outputs"} == set(serve.ROLES)
    assert not full.left_out


def test_the_quick_plan_names_what_it_leaves_out() -> None:
    """Each baseline of the whole plan runs or is named."""
    full, quick = (plan.build_plan(is_quick=is_quick, is_gpu=False) for is_quick in (False, True))
    running = {spec.name for spec in quick.baselines}
    assert plan.BASELINE in running
    assert {spec.name for spec in full.baselines} - running <= set(quick.left_out)
    assert quick.limit_s < 60


def test_a_gpu_has_baselines_with_larger_batches() -> None:
    """The first baseline is the same, no baseline needs a CPU, and a question goes through the corpus several times."""
    found = plan.build_plan(is_quick=False, is_gpu=True)
    assert found.baselines[0].name == plan.BASELINE
    assert {spec.role for spec in found.baselines} == {"transformers", "sentence_transformers"}
    assert found.max_turns > plan.build_plan(is_quick=False, is_gpu=False).max_turns == 1
