"""The others: the vectors are the same as ours, and padding is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.engine.candidates.baselines import (
    OpenVinoBaseline,
    PooledModel,
    SentenceTransformers,
    Transformers,
    pad,
    split_batches,
)
from worker.bench.engine.candidates.serve import build
from worker.bench.engine.measures import Sample
from worker.bench.engine.workload import MIXTURE, REAL
from worker.model.engine import Engine
from worker.model.quantization import predictions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worker.bench.engine.job import Job
    from worker.bench.engine.workload import Corpus

TEXTS = ["a short text", "another one, which is somewhat longer than the first"]
BASELINES = {"transformers": Transformers, "openvino": OpenVinoBaseline, "sentence_transformers": SentenceTransformers}


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 10), st.booleans())
def test_every_text_is_in_one_batch(lengths: list[int], size: int, is_sorted: bool) -> None:  # noqa: FBT001  a strategy's
    """The order is that of arrival or of length."""
    sequences = [np.arange(1, length + 1) for length in lengths]
    order = [index for batch in split_batches(sequences, size, is_sorted=is_sorted) for index in batch]
    assert sorted(order) == list(range(len(lengths)))
    found = [lengths[index] for index in order]
    assert found == (sorted(lengths) if is_sorted else lengths)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_a_mask_covers_the_padding(lengths: list[int]) -> None:
    """The mask is 1 exactly where a token is."""
    ids, mask = pad([np.arange(1, length + 1) for length in lengths])
    assert ids.shape == mask.shape == (len(lengths), max(lengths))
    assert np.array_equal(mask.sum(1), lengths)
    assert np.array_equal(mask > 0, ids > 0)


@pytest.mark.model
def test_the_vectors_equal_those_of_the_engine(published: Path) -> None:
    """Pooling and normalization are those of the publisher, in fp32."""
    engine = Engine.load(str(published), device="cpu", dtype="float32", backend="eager")
    tokens = engine.tokenize(TEXTS)
    ids, mask = pad([text.ids.astype(np.int64) for text in tokens])
    with torch.inference_mode():
        expected = PooledModel(published, torch.float32)(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    vectors = np.stack([output.embedding for output in predictions(engine, TEXTS) if output.embedding is not None])
    assert np.allclose(vectors, expected, atol=1e-5)


@pytest.mark.model
@pytest.mark.parametrize("role", BASELINES)
@pytest.mark.parametrize("corpus", [MIXTURE, REAL])
def test_a_sample_counts_tokens_and_padding(role: str, corpus: str, job: Callable[..., Job], corpora: dict[str, Corpus]) -> None:
    """All baselines count the same tokens, and rows include padding."""
    if role != "transformers":
        pytest.importorskip(role)
    candidate = build(job(role, batch_size=3, is_sorted=role == "openvino"))
    candidate.about()
    num = len(corpora[corpus].texts)
    sample = Sample(**candidate.measure(corpus, 0, num))  # type: ignore[attr-defined]  # of all three
    assert sample.num_messages == num
    assert sample.num_rows > sample.num_tokens
    if corpus == MIXTURE:
        assert sample.num_tokens == sum(len(text.split()) + 2 for text in corpora[MIXTURE].texts)
