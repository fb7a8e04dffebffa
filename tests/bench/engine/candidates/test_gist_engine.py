"""Ours as a contestant: the worker's batches, every text once, in every way that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.makers import tokenized
from worker.bench.engine.candidates.gist_engine import GistEngine, batches, load
from worker.bench.engine.job import Batching
from worker.bench.engine.measures import Sample
from worker.bench.engine.workload import MIXTURE, REAL
from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus


@given(st.lists(st.lists(st.integers(1, 40), max_size=20), max_size=10))
def test_every_text_of_a_backlog_is_in_one_batch(polls: list[list[int]]) -> None:
    """Each text is in one batch, and no batch exceeds its limits."""
    items = [[tokenized(100 * number + index, weight) for index, weight in enumerate(poll)] for number, poll in enumerate(polls)]
    found = list(
        batches(items, Batching(max_batch_tokens=64, max_batch_records=8, resume_in_flight_tokens=128, max_poll_records=20))
    )
    offsets = sorted(item.item.record.offset for batch in found for item in batch.items)
    assert offsets == sorted(item.item.record.offset for poll in items for item in poll)
    assert all(batch.num_tokens <= 64 and len(batch.items) <= 8 for batch in found)


@pytest.mark.model
def test_a_sample_counts_texts_tokens_and_rows(job: Callable[..., Job], corpora: dict[str, Corpus]) -> None:
    """Rows are tokens and padding."""
    engine = GistEngine(job("gist_engine", backend="eager"), corpora)
    about = engine.about()
    assert (about["chosen"], set(about["backends"]) >= {"eager", "compiled", "int8"}) == ("eager", True)
    whole = Sample(**engine.measure(MIXTURE, 0, 12))
    assert (whole.num_messages, whole.num_tokens) == (12, sum(len(text.split()) + 2 for text in corpora[MIXTURE].texts))
    assert whole.num_rows >= whole.num_tokens
    real = Sample(**engine.measure(REAL, 3, 2))
    assert real.num_messages == 2
    assert real.num_tokens == sum(
        len(tokens) for tokens in engine._engine.tokenize([corpora[REAL].texts[3], corpora[REAL].texts[0]])
    )


@pytest.mark.model
def test_int8_calibrates_a_model_without_ranges(published: object) -> None:
    """The loaded checkpoint has ranges afterwards."""
    try:
        loaded, engine = load(str(published), "int8", ["a text of some words", "another"])
    except BadModel as error:
        pytest.skip(str(error))
    assert loaded.ranges is not None
    assert engine.description.startswith("cpu int8 compiled")
