"""The others: the vectors are the same as ours, and padding is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.engine.contestant import build
from worker.bench.engine.measures import Sample
from worker.bench.engine.peers import OpenVinoPeer, SentenceTransformers, Transformers, VectorOf, padded_batches, side_by_side
from worker.bench.engine.workload import MIXTURE, REAL
from worker.model.engine import Engine
from worker.model.quantization import predictions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus

TEXTS = ["a short text", "another one, which is somewhat longer than the first"]
WAYS = {"transformers": Transformers, "openvino": OpenVinoPeer, "sentence_transformers": SentenceTransformers}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 10), st.booleans())
def test_every_text_is_in_one_batch(lengths: list[int], size: int, is_sorted: bool) -> None:  # noqa: FBT001  a strategy's
    """In order of arrival or of length."""
    sequences = [np.arange(1, length + 1) for length in lengths]
    order = [place for batch in padded_batches(sequences, size, is_sorted=is_sorted) for place in batch]
    assert sorted(order) == list(range(len(lengths)))
    found = [lengths[place] for place in order]
    assert found == (sorted(lengths) if is_sorted else lengths)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_a_mask_covers_the_padding(lengths: list[int]) -> None:
    """And nothing else."""
    ids, mask = side_by_side([np.arange(1, length + 1) for length in lengths])
    assert ids.shape == mask.shape == (len(lengths), max(lengths))
    assert np.array_equal(mask.sum(1), lengths)
    assert np.array_equal(mask > 0, ids > 0)


@pytest.mark.model
def test_the_vector_is_that_of_our_engine(published: Path) -> None:
    """In fp32: pooling and normalisation are the publisher's."""
    engine = Engine.load(str(published), device="cpu", dtype="float32", backend="eager")
    tokens = engine.tokenize(TEXTS)
    ids, mask = side_by_side([it.ids.astype(np.int64) for it in tokens])
    with torch.inference_mode():
        theirs = VectorOf(published, torch.float32)(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    ours = np.stack([it.embedding for it in predictions(engine, TEXTS) if it.embedding is not None])
    assert np.allclose(ours, theirs, atol=1e-5)


@pytest.mark.model
@pytest.mark.parametrize("role", WAYS)
@pytest.mark.parametrize("corpus", [MIXTURE, REAL])
def test_a_sample_counts_tokens_and_padding(role: str, corpus: str, job: Callable[..., Job], corpora: dict[str, Corpus]) -> None:
    """The tokens are the same for everybody; rows are what was padded to."""
    if role != "transformers":
        pytest.importorskip(role)
    way = build(job(role, batch_size=3, is_sorted=role == "openvino"))
    way.about()
    num = len(corpora[corpus].texts)
    sample = Sample(**way.measure(corpus, 0, num))  # type: ignore[attr-defined]  # what the three have in common
    assert sample.num_messages == num
    assert sample.num_rows > sample.num_tokens
    if corpus == MIXTURE:
        assert sample.num_tokens == sum(len(it.split()) + 2 for it in corpora[MIXTURE].texts)
