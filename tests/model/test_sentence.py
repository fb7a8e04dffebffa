"""Sentence vectors are made as the publisher of the weights says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from worker.errors import BadModel
from worker.model.sentence import SentenceConfig, pool, sentence_vectors

if TYPE_CHECKING:
    from pathlib import Path

STATES = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
STARTS = torch.tensor([0, 1, 3])


def test_the_published_configuration_is_read(minilm: Path, gist_shaped: Path) -> None:
    """MiniLM is the mean of 256 tokens, GIST the first of 512; both are normalised."""
    assert SentenceConfig.read(minilm) == SentenceConfig(pooling="mean", is_normalized=True, max_tokens=256)
    assert SentenceConfig.read(gist_shaped) == SentenceConfig(pooling="cls", is_normalized=True, max_tokens=512)


def test_pooling() -> None:
    """The mean of each text's own tokens, or its first."""
    assert pool(STATES, STARTS, "mean").tolist() == [[3.0, 4.0], [0.5, 1.0]]
    assert pool(STATES, STARTS, "cls").tolist() == [[3.0, 4.0], [1.0, 0.0]]


def test_normalisation() -> None:
    """Only where the publisher normalises."""
    config = SentenceConfig(pooling="cls", is_normalized=True, max_tokens=None)
    torch.testing.assert_close(sentence_vectors(STATES, config)[0], torch.tensor([0.6, 0.8]))
    config = SentenceConfig(pooling="cls", is_normalized=False, max_tokens=None)
    assert sentence_vectors(STATES, config)[0].tolist() == [3.0, 4.0]


def test_a_plain_bert_is_the_normalised_mean(tmp_path: Path) -> None:
    """A directory that says nothing of sentences."""
    assert SentenceConfig.read(tmp_path) == SentenceConfig(pooling="mean", is_normalized=True, max_tokens=None)


@pytest.mark.parametrize(
    ("pooling", "reason"),
    [
        ({"pooling_mode_max_tokens": True}, "not max_tokens"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "not cls_token and mean_tokens"),
        ({}, "not none"),
        ({"pooling_mode": "lasttoken"}, "not lasttoken"),
    ],
)
def test_pooling_that_we_do_not_do_is_refused(tmp_path: Path, pooling: dict[str, object], reason: str) -> None:
    """Rather than replaced by something else."""
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "", "type": "x.Transformer"}, {"path": "p", "type": "x.Pooling"}]))
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(BadModel, match=reason):
        SentenceConfig.read(tmp_path)


def test_a_newer_configuration_names_the_mode(tmp_path: Path) -> None:
    """One field in place of a switch for each."""
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "p", "type": "x.Pooling"}]))
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    assert SentenceConfig.read(tmp_path) == SentenceConfig(pooling="cls", is_normalized=False, max_tokens=None)


def test_a_module_that_we_do_not_know_is_refused(tmp_path: Path) -> None:
    """A dense layer would change every vector."""
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.Dense"}]))
    with pytest.raises(BadModel, match="Dense is not supported"):
        SentenceConfig.read(tmp_path)
    (tmp_path / "modules.json").write_text("{")
    with pytest.raises(BadModel):
        SentenceConfig.read(tmp_path)
