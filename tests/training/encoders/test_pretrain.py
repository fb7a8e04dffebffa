"""An encoder from random weights: what is hidden is guessed, and what is learned is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.model.encoders import SENTENCES
from worker.errors import BadSettings
from worker.model.engine import Engine
from worker.model.quantization import predictions
from worker.training.encoders.pretrain import Objective, PretrainOptions, pretrain
from worker.training.encoders.pretrain_objectives import contrast, masked, view
from worker.training.encoders.steps import StepOptions

if TYPE_CHECKING:
    from pathlib import Path


@given(st.integers(0, 60), st.integers(0, 1000))
def test_only_words_are_hidden(num_words: int, seed: int) -> None:
    """At least one where there is one, about one in seven, and what stood there is kept."""
    ids = np.arange(100, 102 + num_words, dtype=np.int32)
    is_special = np.zeros(len(ids), dtype=bool)
    is_special[[0, -1]] = True
    found = masked(ids, is_special, mask=7, vocab_size=50, generator=np.random.default_rng(seed))
    assert len(found.places) == min(num_words, max(1, round(num_words * 0.15)))
    assert not is_special[found.places].any()
    assert found.hidden.tolist() == ids[found.places].tolist()
    others = np.setdiff1d(np.arange(len(ids)), found.places)
    assert found.shown[others].tolist() == ids[others].tolist()
    seen = view(ids, is_special, np.random.default_rng(seed))
    assert seen[[0, -1]].tolist() == ids[[0, -1]].tolist()
    assert len(seen) > 2 or num_words == 0
    assert (np.diff(seen) > 0).all()


def test_views_of_a_text_belong_together() -> None:
    """The loss is small where each text's views are alike, and large where they are another's."""
    x = torch.eye(4)
    assert float(contrast(x, 3 * x)) < 1e-6
    assert float(contrast(x, x.roll(1, 0))) > 10


@pytest.mark.model
@pytest.mark.parametrize("objective", ["masked-words", "contrast"])
def test_an_encoder_learns_from_nothing_and_is_served(tmp_path: Path, minilm: Path, objective: Objective) -> None:
    """The loss on held-out texts falls, the same seed gives the same weights, and the directory embeds."""

    def made(name: str) -> bytes:
        options = PretrainOptions(
            base=str(minilm),
            output=tmp_path / name,
            objective=objective,
            num_layers=1,
            hidden_size=64,
            num_attention_heads=2,
            max_tokens=32,
            steps=StepOptions(epochs=2, max_batch_tokens=600, learning_rate=3e-3),
        )
        report = pretrain(options, SENTENCES, lambda _: None)
        assert report.loss_after < report.loss_before
        return (tmp_path / name / "model.safetensors").read_bytes()

    assert made("one") == made("two")
    engine = Engine.load(str(tmp_path / "one"), device="cpu", dtype="float32", backend="eager")
    (found,) = predictions(engine, ["Ada moved to Lisbon."])
    assert found.embedding is not None
    assert np.linalg.norm(found.embedding) == pytest.approx(1, abs=1e-5)


@pytest.mark.model
def test_a_shape_that_does_not_divide_is_refused(tmp_path: Path, minilm: Path) -> None:
    """In one line."""
    options = PretrainOptions(base=str(minilm), output=tmp_path, hidden_size=65)
    with pytest.raises(BadSettings, match="do not divide into 4 heads"):
        pretrain(options, SENTENCES, lambda _: None)
