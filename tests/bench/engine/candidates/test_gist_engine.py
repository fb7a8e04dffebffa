"""The engine as a candidate: the worker's batches, every text once, in every number format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.makers import tokenized
from worker.bench.engine.candidates.gist_engine import batches, calibrate
from worker.bench.engine.job import Sample
from worker.bench.engine.workload import MIXTURE, REAL
from worker.model.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bench.engine.workload import Corpus


@given(st.lists(st.lists(st.integers(1, 40), max_size=20), max_size=10))
def test_every_text_of_a_backlog_is_in_one_batch(polls: list[list[int]]) -> None:
    """Each text is in one batch, and no batch exceeds its limits."""
    items = [[tokenized(100 * number + index, weight) for index, weight in enumerate(poll)] for number, poll in enumerate(polls)]
    found = list(batches(items, {"max_batch_tokens": 64, "max_batch_records": 8, "resume_in_flight_tokens": 128}))
    offsets = sorted(item.item.record.offset for batch in found for item in batch.items)
    assert offsets == sorted(item.item.record.offset for poll in items for item in poll)
    assert all(batch.num_tokens <= 64 and len(batch.items) <= 8 for batch in found)


@pytest.mark.model
def test_a_sample_counts_texts_tokens_and_rows(build_role: Callable[..., Any], corpora: dict[str, Corpus]) -> None:
    """Rows are tokens and padding; a time limit ends a measurement early."""
    engine = build_role("gist_engine:GistEngine", dtype="float32")
    assert engine.about()["dtype"] == "float32"
    whole = Sample(**engine.measure(0, 12))
    assert (whole.num_messages, whole.num_tokens) == (12, sum(len(text.split()) + 2 for text in corpora[MIXTURE].texts))
    assert whole.num_rows >= whole.num_tokens
    assert 0 < Sample(**engine.measure(0, 12, limit_s=0.0)).num_messages < 12
    assert engine.single_ms(2)["p50_ms"] > 0
    assert engine.processor_ms([2, 4]).keys() == {"2", "4"}


@pytest.mark.model
def test_real_texts_are_tokenized_and_compared_with_fp32(build_role: Callable[..., Any]) -> None:
    """With all tasks, labels and entities are compared, too; a format that the machine lacks is left out."""
    engine = build_role("gist_engine:GistEngine", corpus=REAL, backend="eager", is_whole=True)
    assert set(engine.about()["tasks"]) == {"embed", "classify", "ner"}
    assert Sample(**engine.measure(3, 2)).num_messages == 2
    found = engine.exactness(3, ["float32", "int8"])
    assert found["float32"]["min_cosine"] > 0.999
    assert {"label_agreement", "entity_f1", "mean_cosine", "num_texts"} <= found["float32"].keys()


@pytest.mark.model
def test_a_model_without_ranges_is_calibrated(published: object) -> None:
    """Ranges of a checkpoint are kept."""
    loaded = calibrate(checkpoint.load(str(published)), ["a text of some words", "another"])
    assert loaded.ranges is not None
    assert calibrate(loaded, []) is loaded
