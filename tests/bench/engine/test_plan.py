"""The plans of the engine benchmark."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.bench.engine import plan


@given(st.floats(1e-5, 100), st.floats(0.1, 10), st.integers(1, 5000), st.integers(1, 256))
def test_a_question_has_whole_batches_or_the_whole_corpus(each_s: float, box_s: float, num_texts: int, batch_size: int) -> None:
    """The number fits the time, but is at least one batch."""
    num = plan.fit_texts(each_s, box_s, num_texts=num_texts, batch_size=batch_size)
    assert 1 <= num <= num_texts
    assert num == num_texts or num % batch_size == 0
    assert num <= max(batch_size, box_s / each_s)


def test_the_whole_plan_has_every_kind_of_candidate() -> None:
    """Each arithmetic runs, and there are baselines in floating point and in 8 bits."""
    full = plan.build_plan(is_quick=False, is_gpu=False)
    assert {spec.kind for spec in full.candidates} == {"gist", "first", "padded", "int8", "products"}
    assert [spec.options["dtype"] for spec in full.candidates if spec.kind == "gist"] == ["auto", *plan.ARITHMETICS]
    assert not full.left_out


def test_the_quick_plan_names_what_it_leaves_out() -> None:
    """Each candidate of the whole plan runs or is named."""
    full, quick = (plan.build_plan(is_quick=is_quick, is_gpu=False) for is_quick in (False, True))
    assert len(quick.left_out) == len(full.candidates) - len(quick.candidates)
    assert quick.candidates[0] == plan.AUTO


def test_a_gpu_has_baselines_with_larger_batches() -> None:
    """No baseline needs a CPU, and a question goes through the corpus several times."""
    found = plan.build_plan(is_quick=False, is_gpu=True)
    assert {spec.role.rpartition(":")[2] for spec in found.candidates if spec.kind in ("first", "padded", "int8")} == {
        "Transformers", "SentenceTransformers"
    }  # fmt: skip
    assert found.max_turns > plan.build_plan(is_quick=False, is_gpu=False).max_turns == 1
