"""Sentence vectors are made as the publisher of the weights says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from worker.errors import BadModel
from worker.model.pooling.dense import read_dense
from worker.model.pooling.pooling import Pooling, PoolingConfig
from worker.model.pooling.state_pooling import pool_states
from worker.model.pooling.torch_pooling import pool, sentence_vectors

if TYPE_CHECKING:
    from pathlib import Path

STATES = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
STARTS = torch.tensor([0, 1, 3])


def modules_in(directory: Path, *kinds: str, prefix: str = "sentence_transformers.models.") -> None:
    """Write a directory of some modules, each but the first in a folder of its name."""
    modules = [{"idx": n, "path": kind if n else "", "type": prefix + kind} for n, kind in enumerate(kinds)]
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "Pooling").mkdir(exist_ok=True)
    (directory / "Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "mean"}))


def test_the_published_configuration_is_read(minilm: Path, gist_shaped: Path) -> None:
    """MiniLM is the mean of 256 tokens, GIST the first of 512; both are normalised."""
    assert PoolingConfig.read(minilm) == PoolingConfig(pooling="mean", is_normalized=True, max_tokens=256)
    assert PoolingConfig.read(gist_shaped) == PoolingConfig(pooling="cls", is_normalized=True, max_tokens=512)


def test_pooling() -> None:
    """The mean of each text's own tokens, or its first."""
    assert pool(STATES, STARTS, "mean").tolist() == [[3.0, 4.0], [0.5, 1.0]]
    assert pool(STATES, STARTS, "cls").tolist() == [[3.0, 4.0], [1.0, 0.0]]


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_arrays_are_pooled_as_tensors_are(pooling: Pooling) -> None:
    """Under every pooling; the tensors of texts without tokens, which fill a captured pass, change nothing."""
    expected = pool(STATES, STARTS, pooling).numpy()
    np.testing.assert_allclose(pool_states(STATES.numpy(), STARTS.numpy(), pooling), expected, rtol=1e-6)
    filled = pool(torch.cat([STATES, STATES]), torch.tensor([0, 1, 3, 3, 3]), pooling)
    np.testing.assert_allclose(filled[:2].numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"activation_function": "torch.nn.modules.activation.Mish"}, "the activation Mish is not one of Identity, Tanh"),
        ({"out_features": 4}, r"the shape \[3, 2\], and .* says \[4, 2\]"),
        ({"in_features": None}, "not the configuration of a module Dense"),
        ({"use_residual": True}, "use_residual is not supported"),
        ({"module_input_name": "token_embeddings"}, "module_input_name = 'token_embeddings' is not supported"),
        ({"module_output_name": "scores"}, "module_output_name = 'scores' is not supported"),
    ],
)
def test_a_dense_module_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    """With the file and the reason."""
    config = {"in_features": 2, "out_features": 3, "activation_function": "torch.nn.modules.linear.Identity"} | changes
    kept = {name: value for name, value in config.items() if value is not None}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    save_file({"linear.weight": torch.zeros(3, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(BadModel, match=reason):
        read_dense(tmp_path)


def test_a_dense_module_in_another_format_is_named(tmp_path: Path) -> None:
    """The error names the files that are there, and how to write the weights."""
    (tmp_path / "config.json").write_text(json.dumps({"in_features": 2, "out_features": 3}))
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(BadModel, match=r"there is pytorch_model\.bin and no model\.safetensors\. Write it with"):
        read_dense(tmp_path)


def test_normalisation() -> None:
    """Only where the publisher normalises."""
    config = PoolingConfig(pooling="cls", is_normalized=True, max_tokens=None)
    torch.testing.assert_close(sentence_vectors(STATES, config)[0], torch.tensor([0.6, 0.8]))
    config = PoolingConfig(pooling="cls", is_normalized=False, max_tokens=None)
    assert sentence_vectors(STATES, config)[0].tolist() == [3.0, 4.0]


def test_a_plain_bert_is_the_normalised_mean(tmp_path: Path) -> None:
    """A directory that says nothing of sentences."""
    assert PoolingConfig.read(tmp_path) == PoolingConfig(pooling="mean", is_normalized=True, max_tokens=None, is_configured=False)


@pytest.mark.parametrize(
    ("pooling", "reason"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "the pooling cls_token and mean_tokens is"),
        ({}, "the pooling none is"),
        ({"pooling_mode": "attention"}, "the pooling attention is"),
        ({"pooling_mode": ["cls", "mean"]}, "the pooling cls and mean is"),
    ],
)
def test_pooling_that_we_do_not_do_is_refused(tmp_path: Path, pooling: dict[str, object], reason: str) -> None:
    """Rather than replaced by something else."""
    modules_in(tmp_path, "Transformer", "Pooling")
    (tmp_path / "Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(BadModel, match=reason):
        PoolingConfig.read(tmp_path)


def test_a_newer_configuration_names_the_mode(tmp_path: Path) -> None:
    """One field in place of a switch for each."""
    modules_in(tmp_path, "Transformer", "Pooling")
    (tmp_path / "Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls", "pooling_mode_mean_tokens": True}))
    assert PoolingConfig.read(tmp_path) == PoolingConfig(pooling="cls", is_normalized=False, max_tokens=None)


@pytest.mark.parametrize("kind", ["Dropout", "LayerNorm", "SpladePooling", "Router", "WordEmbeddings"])
def test_a_module_that_is_not_done_here_is_refused(tmp_path: Path, kind: str) -> None:
    """A norm of the vector would change every vector."""
    modules_in(tmp_path, "Transformer", "Pooling", kind)
    with pytest.raises(BadModel, match=f"{kind} is not supported"):
        PoolingConfig.read(tmp_path)


@pytest.mark.parametrize("kinds", [[], ["Transformer"], ["Pooling"], ["Transformer", "Normalize", "Pooling"], ["Transformer"] * 2])
def test_modules_in_another_order_are_refused(tmp_path: Path, kinds: list[str]) -> None:
    """Normalised tokens that are averaged are not an average that is normalised."""
    modules_in(tmp_path, *kinds)
    with pytest.raises(BadModel, match="in this order"):
        PoolingConfig.read(tmp_path)


def test_a_publishers_own_code_is_refused(tmp_path: Path) -> None:
    """Whatever the class is called."""
    modules_in(tmp_path, "Transformer", "Pooling", prefix="custom_st.")
    with pytest.raises(BadModel, match=r"custom_st\.Transformer is not supported"):
        PoolingConfig.read(tmp_path)


@pytest.mark.parametrize("content", ["{", "{}", "[1]", '"x"'])
def test_modules_that_cannot_be_read_are_one_line(tmp_path: Path, content: str) -> None:
    """With the name of the file."""
    (tmp_path / "modules.json").write_text(content)
    with pytest.raises(BadModel, match=r"modules\.json"):
        PoolingConfig.read(tmp_path)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"max_seq_length": 0}, "max_seq_length is 0"),
        ({"max_seq_length": "512"}, "max_seq_length is '512'"),
        ({"max_seq_length": True}, "max_seq_length is True"),
        ({"transformer_task": "text-generation"}, "transformer_task = 'text-generation'"),
        ({"module_output_name": "scores"}, "module_output_name = 'scores'"),
        ({"query_length": 32}, "query_length = 32"),
        ({"tokenizer_args": {"truncation_side": "left"}}, "tokenizer_args"),
        ({"do_lower_case": "yes"}, "do_lower_case = 'yes'"),
    ],
)
def test_a_setting_that_is_not_obeyed_is_refused(tmp_path: Path, settings: dict[str, object], reason: str) -> None:
    """By its name and value."""
    modules_in(tmp_path, "Transformer", "Pooling")
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps(settings))
    with pytest.raises(BadModel, match=reason):
        PoolingConfig.read(tmp_path)


def test_settings_that_change_nothing_are_accepted(tmp_path: Path) -> None:
    """Those that sentence-transformers writes for every model, and empty ones."""
    modules_in(tmp_path, "Transformer", "Pooling")
    written = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "max_seq_length": None,
        "do_lower_case": True,
        "query_length": None,
        "model_args": {},
    }
    (tmp_path / "sentence_bert_config.json").write_text(json.dumps(written))
    assert PoolingConfig.read(tmp_path) == PoolingConfig(pooling="mean", is_normalized=False, max_tokens=None, do_lower_case=True)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"prompts": ["query: "]}, "prompts are not texts by their names"),
        ({"prompts": {"q": 1}}, "prompts are not texts by their names"),
        ({"default_prompt_name": "q", "prompts": {"q": "query: "}}, None),
        ({"model_type": "SparseEncoder"}, "a SparseEncoder is not supported"),
        ({"model_type": "CrossEncoder"}, "a CrossEncoder is not supported"),
        ({"default_prompt_name": None, "prompts": {"q": "query: "}}, None),
        ({"default_prompt_name": "q", "prompts": {"q": ""}}, None),
        ({"model_type": "SentenceTransformer", "similarity_fn_name": "dot"}, None),
    ],
)
def test_a_configuration_of_another_model_is_refused(tmp_path: Path, config: dict[str, object], reason: str | None) -> None:
    """The file is that of an embedder, and its prompts are texts."""
    modules_in(tmp_path, "Transformer", "Pooling")
    (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(config))
    if reason is None:
        assert PoolingConfig.read(tmp_path).pooling == "mean"
    else:
        with pytest.raises(BadModel, match=reason):
            PoolingConfig.read(tmp_path)


@pytest.mark.parametrize("key", ["module_input_name", "module_output_name"])
def test_a_normalisation_of_other_values_is_refused(tmp_path: Path, key: str) -> None:
    """Only the vector of a text is normalised, and not the states of its tokens."""
    modules_in(tmp_path, "Transformer", "Pooling", "Normalize")
    (tmp_path / "Normalize").mkdir()
    (tmp_path / "Normalize" / "config.json").write_text(json.dumps({key: "sentence_embedding"}))
    assert PoolingConfig.read(tmp_path).is_normalized
    (tmp_path / "Normalize" / "config.json").write_text(json.dumps({key: "token_embeddings"}))
    with pytest.raises(BadModel, match=f"{key} = 'token_embeddings' is not supported"):
        PoolingConfig.read(tmp_path)
