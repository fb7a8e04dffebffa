"""The others: the vectors are the same as ours, and padding is counted."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.support.watching import addresses, whole_environment
from worker.bench.engine.candidates.baselines import PooledModel, export_onnx, pad, split_batches
from worker.bench.engine.job import Sample
from worker.bench.engine.workload import MIXTURE, REAL
from worker.model.encoder.quantization import predictions
from worker.model.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from worker.bench.engine.workload import Corpus

TEXTS = ["a short text", "another one, which is somewhat longer than the first"]
# The baselines, the packages that they need, the formats of which the faster counts, and a corpus.
BASELINES = [
    ("Transformers", "transformers", {}, {"fp32", "bf16"}, REAL),
    ("OpenVino", "openvino", {"is_sorted": True}, {"fp32", "bf16"}, MIXTURE),
    ("OnnxRuntime", "onnxruntime", {"is_sorted": True}, {"fp32"}, REAL),
    ("OnnxRuntime", "onnxruntime", {"is_quantized": True}, {"int8"}, MIXTURE),
    ("SentenceTransformers", "sentence_transformers", {}, {"fp32", "bf16"}, MIXTURE),
]
OPENVINO = """
import torch
from worker.bench.engine.candidates import baselines
baselines.import_openvino().convert_model(torch.nn.Linear(2, 2), example_input=torch.ones(1, 2))
"""


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
@pytest.mark.parametrize(("name", "package", "options", "formats", "corpus"), BASELINES)
def test_a_sample_counts_tokens_and_padding(
    name: str,
    package: str,
    options: dict[str, bool],
    formats: set[str],
    corpus: str,
    build_role: Callable[..., Any],
    corpora: dict[str, Corpus],
) -> None:
    """All baselines count the same tokens, and rows include padding."""
    pytest.importorskip(package)
    candidate = build_role(f"baselines:{name}", corpus, batch_size=3, **options)
    assert candidate.about()["dtype"] in formats
    num = len(corpora[corpus].texts)
    sample = Sample(**candidate.measure(0, num))
    assert sample.num_messages == num
    assert sample.num_rows > sample.num_tokens
    if corpus == MIXTURE:
        assert sample.num_tokens == sum(len(text.split()) + 2 for text in corpora[MIXTURE].texts)


@pytest.mark.model
@pytest.mark.parametrize(("is_quantized", "least_cosine"), [(False, 0.99999), (True, 0.7)])
def test_an_exported_graph_computes_the_same_vectors(
    published: Path, tmp_path: Path, least_cosine: float, *, is_quantized: bool
) -> None:
    """The mask of the graph depends on its input; 8-bit weights change the vectors."""
    onnxruntime = pytest.importorskip("onnxruntime")
    path = export_onnx(published, tmp_path, is_quantized=is_quantized)
    ids, mask = pad([np.array([101, 2023, 102]), np.array([101, 2023, 2003, 1037, 2936, 3793, 102])])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    vectors = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    with torch.inference_mode():
        expected = PooledModel(published, torch.float32)(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    assert ((vectors * expected).sum(1) > least_cosine).all()


@pytest.mark.model
def test_importing_openvino_opens_no_connection(tmp_path: Path) -> None:
    """The baseline asks for no address, and writes no identifier."""
    pytest.importorskip("openvino")
    subprocess.run([sys.executable, "-c", OPENVINO], env=whole_environment(tmp_path), check=True, timeout=120)
    assert addresses(tmp_path) == set()
    assert list(tmp_path.glob("**/openvino_ga_cid")) == []
