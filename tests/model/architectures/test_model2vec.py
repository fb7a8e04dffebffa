"""The vector of a Model2Vec is the normalised mean of the rows of its tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.model.published import TEXTS, build_tokenizer
from worker.errors import BadModel
from worker.model.engine import Engine
from worker.records import Task
from worker.training.evaluation.evaluate import predictions

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.model
WIDTH, UNKNOWN = 64, 1


def publish(directory: Path, *, has_mapping: bool = False, **config: Any) -> dict[str, NDArray[Any]]:
    """Write a static model as its library does, with random rows; return its arrays."""
    tokenizer = build_tokenizer("wordpiece").backend_tokenizer
    rng, num_tokens = np.random.default_rng(0), tokenizer.get_vocab_size()
    arrays: dict[str, NDArray[Any]] = {"embeddings": rng.standard_normal((num_tokens, WIDTH), dtype=np.float32)}
    if has_mapping:
        shares = rng.random(num_tokens).astype(np.float32)
        arrays = {"embeddings": arrays["embeddings"][:40], "mapping": rng.integers(0, 40, num_tokens), "weights": shares}
    save_file(arrays, directory / "model.safetensors")
    tokenizer.save(str(directory / "tokenizer.json"))
    known = {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": True, "seq_length": 1_000_000} | config
    (directory / "config.json").write_text(json.dumps(known))
    kinds = ["StaticEmbedding", "Normalize"]
    modules = [{"idx": n, "path": ".", "type": f"sentence_transformers.models.{kind}"} for n, kind in enumerate(kinds)]
    (directory / "modules.json").write_text(json.dumps(modules))
    return arrays


def compute_vector(arrays: dict[str, NDArray[Any]], text: str) -> NDArray[np.float32]:
    """Return the normalised mean of a text's rows; unknown tokens do not count."""
    ids = np.array(build_tokenizer("wordpiece").backend_tokenizer.encode(text, add_special_tokens=False).ids)
    ids = ids[ids != UNKNOWN]
    rows = arrays["embeddings"][arrays["mapping"][ids] if "mapping" in arrays else ids]
    if "weights" in arrays:
        rows = rows * arrays["weights"][ids][:, None]
    vector: NDArray[np.float32] = rows.mean(axis=0)
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize("backend", ["eager", "auto"])
@pytest.mark.parametrize("has_mapping", [False, True])
def test_a_vector_is_the_mean_of_rows(tmp_path: Path, backend: Any, *, has_mapping: bool) -> None:
    """Also where rows are shared and weighted, and where a character is not known."""
    arrays = publish(tmp_path, has_mapping=has_mapping)
    engine = Engine.load(str(tmp_path), device="cpu", backend=backend)
    engine.warm_up()
    texts = [*TEXTS, "Ada \u4eba moved."]
    assert UNKNOWN in build_tokenizer("wordpiece").backend_tokenizer.encode(texts[-1]).ids
    found = np.array([prediction.embedding for prediction in predictions(engine, texts, Task.EMBED)])
    np.testing.assert_allclose(found, [compute_vector(arrays, text) for text in texts], atol=1e-5)
    assert engine.tasks == {Task.EMBED}


def test_what_is_not_done_is_refused(tmp_path: Path) -> None:
    """Vectors that are not normalised, and weights of another kind."""
    publish(tmp_path, normalize=False)
    with pytest.raises(BadModel, match="only normalised vectors are supported for Model2Vec"):
        Engine.load(str(tmp_path), device="cpu")
    publish(tmp_path)
    save_file({"linear.weight": np.zeros((2, 2), dtype=np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(BadModel, match=r"the tensor linear\.weight is not part of a Model2Vec"):
        Engine.load(str(tmp_path), device="cpu")
    publish(tmp_path)
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps({"truncate_dim": 16}))
    with pytest.raises(BadModel, match="truncate_dim = 16"):
        Engine.load(str(tmp_path), device="cpu")


def test_a_default_prompt_is_read_before_each_text(tmp_path: Path) -> None:
    """The prompt of `config_sentence_transformers.json` counts for the mean, as in sentence-transformers."""
    arrays, settings = publish(tmp_path), {"prompts": {"q": "London: "}, "default_prompt_name": "q"}
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(settings))
    found = [prediction.embedding for prediction in predictions(Engine.load(str(tmp_path), device="cpu"), TEXTS, Task.EMBED)]
    np.testing.assert_allclose(np.array(found), [compute_vector(arrays, f"London: {text}") for text in TEXTS], atol=1e-5)
