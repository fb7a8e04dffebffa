"""The vectors of published directories are those of sentence-transformers, in both backends of a CPU."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.model.published import TEXTS, publish_family
from worker.errors import BadModel
from worker.model.engine import Engine
from worker.records import Task
from worker.training.evaluation.evaluate import predictions

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model
POOLINGS = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def add_modules(directory: Path, pooling: str, *, dense: str | None, is_normalized: bool) -> Path:
    """Make a directory one of sentence-transformers; `dense` is the activation of a module that gives 16 numbers."""
    kinds = ["Transformer", "Pooling", *(["Dense"] if dense else []), *(["Normalize"] if is_normalized else [])]
    modules: list[dict[str, Any]] = []
    for number, kind in enumerate(kinds):
        path = f"{number}_{kind}" if number else ""
        modules.append({"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"})
        (directory / path).mkdir(exist_ok=True)
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64}))
    (directory / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 128, "pooling_mode": pooling}))
    if dense:
        config = {"in_features": 128, "out_features": 16, "bias": True, "activation_function": dense}
        (directory / "2_Dense" / "config.json").write_text(json.dumps(config))
        torch.manual_seed(0)
        arrays = {"linear.weight": torch.randn(16, 128) * 0.1, "linear.bias": torch.randn(16)}
        save_file(arrays, directory / "2_Dense" / "model.safetensors")
    return directory


def check_vectors(directory: Path, backend: Any) -> None:
    """Compare the vectors of some texts, one of which is truncated, with those of sentence-transformers."""
    module = pytest.importorskip("sentence_transformers", reason="the extra bench is not installed")
    texts = [*TEXTS, "It " * 300]
    engine = Engine.load(str(directory), device="cpu", backend=backend, dtype="float32")
    found = [prediction.embedding for prediction in predictions(engine, texts, Task.EMBED)]
    expected = module.SentenceTransformer(str(directory), device="cpu").encode(texts)
    np.testing.assert_allclose(np.array(found), expected, atol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("backend", ["eager", "compiled"])
def test_every_pooling_is_followed(tmp_path: Path, pooling: str, backend: str) -> None:
    """Also without normalisation."""
    publish_family(tmp_path, "xlm-roberta")
    check_vectors(add_modules(tmp_path, pooling, dense=None, is_normalized=pooling != "mean"), backend)


@pytest.mark.parametrize("activation", ["torch.nn.modules.activation.Tanh", "torch.nn.modules.linear.Identity"])
@pytest.mark.parametrize("is_normalized", [True, False])
def test_a_dense_module_is_applied(tmp_path: Path, activation: str, *, is_normalized: bool) -> None:
    """After pooling and before normalisation."""
    publish_family(tmp_path, "roberta")
    check_vectors(add_modules(tmp_path, "mean", dense=activation, is_normalized=is_normalized), "compiled")


def test_a_tokenizer_that_must_be_converted_is_named(tmp_path: Path) -> None:
    """A directory with SentencePiece's own file alone gets an error that says how to convert it."""
    publish_family(tmp_path, "camembert")
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CamembertTokenizer"}')
    with pytest.raises(BadModel, match=r"neither tokenizer\.json nor vocab\.txt\. Write tokenizer\.json with `AutoTokenizer"):
        Engine.load(str(tmp_path), device="cpu")
