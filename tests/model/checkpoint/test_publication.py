"""What a published directory holds beside an encoder is served as its publisher's libraries serve it, or refused by name."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model.checkpoint.published import add_modules, publish, rewrite
from worker.errors import BadModel
from worker.model.checkpoint import checkpoint
from worker.model.engine import Engine
from worker.records import Task
from worker.training.evaluation.evaluate import predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.model
HEADS = [
    "BertForQuestionAnswering",
    "BertForMultipleChoice",
    "BertForNextSentencePrediction",
    "BertLMHeadModel",
]
TEXTS = ["Ada Lovelace moved to London.", "CAFÉ Müller", "word " * 200]


def vectors(directory: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return what the engine says of some texts."""
    engine = Engine.load(str(directory), device="cpu", backend="eager", dtype="float32")
    found = [prediction.embedding for prediction in predictions(engine, texts, Task.EMBED)]
    return np.stack([np.asarray(vector) for vector in found])


def reference(directory: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Return what sentence-transformers says of them."""
    module = pytest.importorskip("sentence_transformers", reason="the extra bench is not installed")
    found: NDArray[np.float32] = module.SentenceTransformer(str(directory), device="cpu").encode(list(texts))
    return found


@pytest.mark.parametrize("architecture", HEADS)
def test_a_published_head_is_refused_by_its_architecture(tmp_path: Path, architecture: str) -> None:
    """A head of another kind is not dropped."""
    publish(tmp_path, architecture)
    with pytest.raises(BadModel, match=f"a {architecture}.* cannot be served"):
        checkpoint.load(str(tmp_path))


def test_the_labels_of_a_head_are_named(tmp_path: Path) -> None:
    """A few of many."""
    publish(tmp_path / "few", "BertForMultipleChoice", id2label={0: "bug", 1: "praise", 2: "question"})
    with pytest.raises(BadModel, match=r"\(bug, praise, question\)"):
        checkpoint.load(str(tmp_path / "few"))
    publish(tmp_path / "many", "BertForQuestionAnswering", id2label={n: f"B-{n}" for n in range(40)})
    with pytest.raises(BadModel, match=r"B-7, … 40 in all"):
        checkpoint.load(str(tmp_path / "many"))


@pytest.mark.parametrize(
    "architecture", ["BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering"]
)
@pytest.mark.parametrize("claimed", [["BertModel"], [], None])
def test_a_head_among_the_weights_is_refused_whatever_the_configuration_says(
    tmp_path: Path, architecture: str, claimed: list[str] | None
) -> None:
    """The weights decide where `architectures` is wrong or missing."""
    publish(tmp_path, architecture)
    rewrite(tmp_path / "config.json", architectures=claimed)
    with pytest.raises(BadModel, match=r"would be dropped: (classifier|qa_outputs)\.bias, (classifier|qa_outputs)\.weight"):
        checkpoint.load(str(tmp_path))


@pytest.mark.parametrize("architecture", ["BertModel", "BertForMaskedLM", "BertForPreTraining"])
@pytest.mark.parametrize("is_named", [True, False])
def test_heads_of_pretraining_are_ignored(tmp_path: Path, architecture: str, *, is_named: bool) -> None:
    """They say how an encoder was made; the vectors are those of sentence-transformers."""
    publish(add_modules(tmp_path), architecture)
    if not is_named:
        rewrite(tmp_path / "config.json", architectures=None)
    np.testing.assert_allclose(vectors(tmp_path, TEXTS), reference(tmp_path, TEXTS), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"is_decoder": True}, "is a decoder"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"pruned_heads": {"0": [1]}}, "pruned_heads"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config"),
        ({"auto_map": {"AutoModel": "modeling.Own"}}, "code of its own"),
        ({"architectures": ["HF_ColBERT"]}, "a HF_ColBERT"),
        ({"num_hidden_layers": 1}, r"would be dropped: encoder\.layer\.1"),
        ({"hidden_size": "32"}, "hidden_size is '32'"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"layer_norm_eps": float("nan")}, "the epsilon of the norms is nan"),
        ({"layer_norm_eps": "1e-12"}, "the epsilon of the norms is '1e-12'"),
        ({"layer_norm_eps": -1}, "the epsilon of the norms is -1"),
        ({"architectures": "BertModel"}, "architectures is 'BertModel', not a list"),
        ({"architectures": 5}, "architectures is 5, not a list"),
    ],
)
def test_a_configuration_of_another_computation_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    """By the name of the key."""
    publish(tmp_path, "BertModel")
    rewrite(tmp_path / "config.json", **changes)
    with pytest.raises(BadModel, match=reason):
        checkpoint.load(str(tmp_path))


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("config_setfit.json", "a SetFit classifier"),
        ("model_head.pkl", "a classifier's head"),
        ("adapter_config.json", "an adapter"),
    ],
)
def test_a_part_in_a_file_of_its_own_is_refused(tmp_path: Path, file: str, reason: str) -> None:
    """A head or an adapter that is not among the weights is not dropped without a word."""
    publish(tmp_path, "BertModel")
    (tmp_path / file).write_text("{}")
    with pytest.raises(BadModel, match=f"{file}.*{reason}"):
        checkpoint.load(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hidden_size": 16}, "the shape"),
        ({"max_position_embeddings": 7}, "the shape"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"model_type": "llama"}, "of type 'llama'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    """The error names the tensor or the setting."""
    publish(tmp_path, "BertModel")
    rewrite(tmp_path / "config.json", **changes)
    with pytest.raises(BadModel, match=reason) as raised:
        checkpoint.load(str(tmp_path))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("config.json", "[]", "not an object of JSON"),
        ("config.json", "[" * 100_000, "not the configuration of an encoder: maximum recursion depth"),
        ("modules.json", "[" * 100_000, "maximum recursion depth"),
    ],
)
def test_a_configuration_that_is_no_object_is_one_line(tmp_path: Path, name: str, content: str, reason: str) -> None:
    """The error names the file."""
    publish(tmp_path, "BertModel")
    (tmp_path / name).write_text(content)
    with pytest.raises(BadModel, match=rf"{name}: {reason}"):
        checkpoint.load(str(tmp_path))


def test_a_published_cut_of_the_vector_is_refused(tmp_path: Path) -> None:
    """`truncate_dim` cuts the vectors of sentence-transformers, and the worker publishes whole vectors."""
    publish(tmp_path, "BertModel")
    add_modules(tmp_path)
    rewrite(tmp_path / "config_sentence_transformers.json", truncate_dim=8)
    with pytest.raises(BadModel, match="truncate_dim = 8"):
        checkpoint.load(str(tmp_path))


def test_labels_alone_are_no_head(tmp_path: Path) -> None:
    """Many encoders are published with the labels of a configuration's default."""
    publish(tmp_path, "BertModel", id2label={0: "LABEL_0"})
    assert checkpoint.load(str(tmp_path)).heads.heads.keys() == set()


def test_weights_in_the_spelling_of_tensorflow_are_read(tmp_path: Path) -> None:
    """Gamma and beta are the weight and the bias of a normalisation."""
    publish(tmp_path, "BertModel")
    expected = vectors(tmp_path, TEXTS)
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in tensors.items()
    }
    assert old.keys() != tensors.keys()
    save_file(old, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(vectors(tmp_path, TEXTS), expected)


def test_weights_of_whole_numbers_are_refused(tmp_path: Path) -> None:
    """They are quantized, and mean nothing without their scale."""
    publish(tmp_path, "BertModel")
    tensors = load_file(tmp_path / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    save_file(tensors | {name: (tensors[name] * 100).to(torch.int8)}, tmp_path / "model.safetensors")
    with pytest.raises(BadModel, match=f"the tensor {name} holds I8"):
        checkpoint.load(str(tmp_path))


def test_weights_of_another_model_are_not_called_a_head(tmp_path: Path) -> None:
    """The first tensor that the encoder lacks is named."""
    publish(tmp_path, "BertModel")
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({f"0.auto_model.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(BadModel, match=r"the tensor embeddings\.LayerNorm\.bias is missing"):
        checkpoint.load(str(tmp_path))


def _bin(directory: Path) -> None:
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()


def _sharded(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    publish(directory, "BertModel", shard="200KB")


def _sharded_classifier(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    publish(directory, "BertForSequenceClassification", shard="200KB")


def _linked_to_nothing(directory: Path) -> None:
    """Leave a link without its target, as an incomplete download does."""
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors").symlink_to("blobs/0123")


def _renamed(name: str) -> Callable[[Path], None]:
    def rename(directory: Path) -> None:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / "model.safetensors").rename(directory / name)

    return rename


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_bin, "there is pytorch_model.bin and no model.safetensors"),
        (_sharded, r"the weights are in \d+ files \(model-00001-of-.*`AutoModel\.from_pretrained"),
        (_sharded_classifier, r"`AutoModelForSequenceClassification\.from_pretrained"),
        (_renamed("tf_model.h5"), "there is tf_model.h5"),
        (_renamed("onnx/model.onnx"), "there is onnx/model.onnx"),
        (_renamed("adapter_model.safetensors"), "there is adapter_model.safetensors"),
        (_renamed("model.txt"), "there are no weights"),
        (_linked_to_nothing, "model.safetensors: a link to a missing file"),
        (
            lambda directory: (directory / "model.safetensors").write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
            ),
            "git lfs pull",
        ),
        (lambda directory: (directory / "config.json").unlink(), "config.json: no such file"),
    ],
)
def test_weights_in_another_form_are_named(tmp_path: Path, change: Callable[[Path], object], reason: str) -> None:
    """With what to do; never `No such file` alone."""
    publish(tmp_path, "BertModel")
    change(tmp_path)
    with pytest.raises(BadModel, match=reason):
        checkpoint.load(str(tmp_path))


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    """Ids beyond the vocabulary are found when the model is loaded, not text by text."""
    publish(tmp_path, "BertModel", vocab_size=30_000)
    with pytest.raises(BadModel, match=r"with the id 30521, and the encoder has 30000 tokens"):
        checkpoint.load(str(tmp_path))


def test_a_vocabulary_with_room_is_accepted(tmp_path: Path) -> None:
    """Embeddings are often padded to a round number."""
    publish(tmp_path, "BertModel", vocab_size=30_528)
    assert checkpoint.load(str(tmp_path)).encoder.config.vocab_size == 30_528


@pytest.mark.parametrize(
    "settings",
    [
        {
            "sentence_bert_config.json": {"do_lower_case": True, "max_seq_length": 32},
            "tokenizer_config.json": {"do_lower_case": False},
        },
        {"tokenizer_config.json": {"do_lower_case": False}},
        {"tokenizer_config.json": {"do_lower_case": False, "strip_accents": True}},
        {"tokenizer_config.json": {"strip_accents": False}},
        {"tokenizer_config.json": {"model_max_length": 16}},
        {"sentence_bert_config.json": {"max_seq_length": 16}, "tokenizer_config.json": {"model_max_length": 32}},
        {"config_sentence_transformers.json": {"prompts": {"query": "query: "}, "default_prompt_name": None}},
        {"1_Pooling/config.json": {"pooling_mode": "cls"}},
    ],
)
def test_vectors_are_those_of_sentence_transformers(tmp_path: Path, settings: dict[str, dict[str, Any]]) -> None:
    """Under every setting that a publisher can write and that is not refused."""
    publish(add_modules(tmp_path), "BertModel")
    for name, changes in settings.items():
        rewrite(tmp_path / name, **changes)
    np.testing.assert_allclose(vectors(tmp_path, TEXTS), reference(tmp_path, TEXTS), atol=1e-5)


def test_a_tuned_encoder_keeps_the_files_that_decide(tmp_path: Path) -> None:
    """The tokens of its copy are those of its source."""
    source = publish(add_modules(tmp_path / "source"), "BertModel")
    rewrite(source / "tokenizer_config.json", do_lower_case=False)
    rewrite(source / "sentence_bert_config.json", do_lower_case=True, max_seq_length=16)
    loaded = checkpoint.load(str(source))
    options: dict[str, Any] = {"name": "n", "encoder_reference": str(source), "heads": [], "training": {}, "card": ""}
    checkpoint.save(tmp_path / "own", encoder=loaded.encoder, **options)
    shutil.rmtree(source)
    copy = checkpoint.load(str(tmp_path / "own"))
    for ours, theirs in zip(copy.tokenizer.encode(TEXTS), loaded.tokenizer.encode(TEXTS), strict=True):
        assert ours.ids.tolist() == theirs.ids.tolist()
    pinned = json.loads((tmp_path / "own" / "manifest.json").read_text())["encoder"]["files"]
    assert {"tokenizer_config.json", "sentence_bert_config.json"} <= pinned.keys()
