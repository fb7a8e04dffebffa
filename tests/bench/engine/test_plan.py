"""Who runs, and how much each is asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.engine import contestant, plan
from worker.bench.engine.workload import MIXTURE, REAL


@given(st.floats(1e-5, 100), st.floats(0.1, 10), st.integers(1, 5000), st.integers(1, 256))
def test_a_question_is_whole_batches_or_the_whole_corpus(each_s: float, box_s: float, num_texts: int, batch_size: int) -> None:
    """As many as fit into the time, and one batch at least."""
    num = plan.num_messages(each_s, box_s, num_texts=num_texts, batch_size=batch_size)
    assert 1 <= num <= num_texts
    assert num == num_texts or num % batch_size == 0
    assert num <= max(batch_size, box_s / each_s)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.integers(1, 8))
def test_time_is_shared_equally(now_s: float, until_s: float, num_parts: int) -> None:
    """The parts together take what is left; what is late already takes nothing."""
    first = plan.share(now_s, until_s, num_parts)
    assert now_s <= first <= max(now_s, until_s) * (1 + 1e-9)
    assert plan.share(now_s, until_s, 1) == pytest.approx(max(now_s, until_s))


def test_the_full_run_has_every_shape_on_every_corpus() -> None:
    """And every contestant that there is."""
    full = plan.full()
    assert full.corpora == dict.fromkeys((plan.GIST_SHAPE, plan.MINILM), (MIXTURE, REAL))
    assert {it.role for it in full.peers} | {"ours", "roofline", "judge"} == set(contestant.ROLES)
    assert not full.left_out


def test_the_quick_run_says_what_it_leaves_out() -> None:
    """Everybody of the full run runs, or is named."""
    full, quick = plan.full(), plan.quick()
    running = {it.name for it in quick.peers}
    assert plan.FIRST_WRITTEN in running
    assert {it.name for it in full.peers} - running <= set(quick.left_out)
    assert quick.limit_s < 60


def test_a_gpu_has_peers_that_batch_for_it() -> None:
    """Who is written first is the same, no runtime for CPUs is among them, and a corpus is gone through several times."""
    found = plan.on_gpu(plan.full())
    assert found.peers[0].name == plan.FIRST_WRITTEN
    assert {it.role for it in found.peers} == {"transformers", "sentence_transformers"}
    assert found.max_turns > plan.full().max_turns == 1
