"""Ours as a contestant: the worker's batches, every text once, in every way that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.makers import tokenized
from worker.bench.engine.job import Batching
from worker.bench.engine.measures import Sample
from worker.bench.engine.ours import GistEngine, batches, load
from worker.bench.engine.workload import MIXTURE, REAL
from worker.errors import BadModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus


@given(st.lists(st.lists(st.integers(1, 40), max_size=20), max_size=10))
def test_a_backlog_is_batched_whole(polls: list[list[int]]) -> None:
    """Every text once, no batch over its bounds."""
    items = [[tokenized(100 * number + place, weight) for place, weight in enumerate(poll)] for number, poll in enumerate(polls)]
    found = list(
        batches(items, Batching(max_batch_tokens=64, max_batch_records=8, resume_in_flight_tokens=128, max_poll_records=20))
    )
    assert sorted(it.item.record.offset for batch in found for it in batch.items) == sorted(
        it.item.record.offset for poll in items for it in poll
    )
    assert all(batch.num_tokens <= 64 and len(batch.items) <= 8 for batch in found)


@pytest.mark.model
def test_a_sample_counts_what_was_run(job: Callable[..., Job], corpora: dict[str, Corpus]) -> None:
    """Made-up texts and real ones; rows are tokens and what fills the matrix."""
    ours = GistEngine(job("ours", way="eager"), corpora)
    about = ours.about()
    assert (about["chosen"], set(about["ways"]) >= {"eager", "compiled", "int8"}) == ("eager", True)
    whole = Sample(**ours.measure(MIXTURE, 0, 12))
    assert (whole.num_messages, whole.num_tokens) == (12, sum(len(it.split()) + 2 for it in corpora[MIXTURE].texts))
    assert whole.num_rows >= whole.num_tokens
    real = Sample(**ours.measure(REAL, 3, 2))
    assert real.num_messages == 2
    assert real.num_tokens == sum(len(it) for it in ours._engine.tokenize([corpora[REAL].texts[3], corpora[REAL].texts[0]]))


@pytest.mark.model
def test_a_model_that_was_not_calibrated_is(published: object) -> None:
    """Where the way needs it, and this machine has it."""
    try:
        loaded, engine = load(str(published), "int8", ["a text of some words", "another"])
    except BadModel as error:
        pytest.skip(str(error))
    assert loaded.ranges is not None
    assert engine.backend.name == "int8"
