"""Calibration: the ranges are those of the states, the difference is measured on other texts, and too large a one is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.model.conftest import MINILM
from worker.errors import BadModel
from worker.model.backends.eager import Eager
from worker.model.checkpoint import checkpoint
from worker.model.encoder import quantization as calibration
from worker.model.encoder.quantization import difference, measure_ranges, passes, predictions, quantize
from worker.model.engine import Engine
from worker.model.text.packing import pack
from worker.records import Classification, PredictedEntity, Prediction, Tokens
from worker.settings import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.model
TEXTS = [f"{who} {what} in {where}." for who in ("Ada Lovelace", "My old aunt", "Nobody at all", "The minister") for what in
         ("lives happily", "was terribly bored", "slept", "never saw such a lovely film") for where in
         ("London", "a small red car", "Paris on Tuesday", "the rain", "2015")]  # fmt: skip


def build_tokens(ids: Sequence[int]) -> Tokens:
    """Return tokens with some ids."""
    places = np.zeros(len(ids), dtype=np.int32)
    return Tokens(np.array(ids, dtype=np.int32), np.zeros((len(ids), 2), dtype=np.int32), places, truncated=False)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=900), max_size=40))
def test_passes_hold_every_text_once_in_order_within_the_budget(texts: list[list[int]]) -> None:
    """Whatever their lengths."""
    found = list(passes([build_tokens(ids) for ids in texts]))
    assert [
        packed.ids[start:end].tolist()
        for packed in found
        for start, end in zip(packed.cu_seqlens, packed.cu_seqlens[1:], strict=False)
    ] == texts
    assert all(len(packed.ids) <= 4096 for packed in found)


def test_ranges_are_the_largest_inputs_of_each_product() -> None:
    """Channel by channel, over all texts; the first product of the first layer reads the embeddings."""
    loaded = checkpoint.load(MINILM)
    tokens = loaded.tokenizer.encode(TEXTS)
    ranges = measure_ranges(loaded.encoder, passes(tokens))
    assert len(ranges) == 6 * 3
    assert all(sizes.shape == (384,) and (sizes >= 0).all() for sizes in ranges.values())
    with torch.inference_mode():
        eager = Eager(loaded.encoder, device=torch.device("cpu"), dtype=torch.float32)
        states = eager.encode(pack([text_tokens.ids for text_tokens in tokens]), {0, 3})
    for layer, state in states.items():
        np.testing.assert_allclose(ranges[f"{layer}.query_key_value"], state.abs().amax(0), rtol=1e-5)


def test_watching_leaves_the_encoder_as_it_was() -> None:
    """No hook stays behind."""
    encoder = checkpoint.load(MINILM).encoder
    measure_ranges(encoder, iter([pack([np.array([101, 102], dtype=np.int32)])]))
    assert not any(module._forward_pre_hooks for module in encoder.modules())


def said(vector: Sequence[float], label: str = "a", *entities: tuple[str, int, int]) -> Prediction:
    """Return what a model said of a text."""
    found = tuple(PredictedEntity(kind, "", start, end, 1.0, "ner") for kind, start, end in entities)
    return Prediction(np.array(vector, dtype=np.float32), {"s": Classification(label, 1.0, {label: 1.0})}, found)


def test_the_difference_is_that_of_vectors_labels_and_entities() -> None:
    """Cosines whatever the lengths, the share of equal labels, and F1 of what both find."""
    exact = [said([1, 0], "a", ("PER", 0, 3), ("LOC", 5, 9)), said([0, 2], "b", ("ORG", 1, 2)), said([1, 1]), said([3, 0])]
    others = [said([2, 0], "a", ("PER", 0, 3), ("ORG", 5, 9)), said([0, 1], "a"), said([1, 1]), said([3, 4])]
    found = difference(exact, others)
    assert (found.num_texts, found.label_agreement) == (4, 0.75)
    assert found.min_cosine == pytest.approx(0.6)
    assert found.mean_cosine == pytest.approx(0.9)
    assert found.min_cosine <= found.p01_cosine <= found.mean_cosine
    assert found.entity_f1 == pytest.approx(2 * 1 / (3 + 2))


def test_texts_without_entities_agree() -> None:
    """A bare encoder has neither labels nor entities; one without a vector cannot be compared."""
    bare = Prediction(np.array([1.0], dtype=np.float32))
    found = difference([bare], [bare])
    assert (found.label_agreement, found.entity_f1, found.min_cosine) == (1.0, 1.0, 1.0)
    with pytest.raises(BadModel, match="no vector"):
        difference([bare], [Prediction()])


def test_predictions_are_for_each_text_in_order() -> None:
    """However many passes they take."""
    engine = Engine.load(DEFAULT_MODEL, device="cpu", dtype="float32", threads=2)
    texts = [*TEXTS, *TEXTS * 8]
    found = predictions(engine, texts)
    assert len(found) == len(texts)
    assert difference(found[: len(TEXTS)], found[-len(TEXTS) :]).min_cosine == pytest.approx(1, abs=1e-5)


@pytest.mark.int8
def test_a_calibrated_checkpoint_loads_and_runs_with_8_bits(tmp_path: Path) -> None:
    """It says how far that is from fp32, measured on every other text, and keeps its heads."""
    found = quantize(DEFAULT_MODEL, TEXTS, tmp_path / "mine")
    assert found.num_texts == len(TEXTS) // 2
    assert calibration.LEAST_COSINE <= found.min_cosine <= found.mean_cosine <= 1.0001
    engine = Engine.load(str(tmp_path / "mine"), device="cpu", dtype="int8", threads=2)
    assert engine.difference is not None
    assert engine.difference == asdict(found)
    assert engine.tasks == {"embed", "classify", "ner"}
    exact = predictions(Engine.load(DEFAULT_MODEL, device="cpu", dtype="float32", threads=2), TEXTS[1::2])
    assert difference(exact, predictions(engine, TEXTS[1::2])).min_cosine == pytest.approx(found.min_cosine, abs=1e-4)


@pytest.mark.int8
def test_a_bare_encoder_can_be_calibrated(tmp_path: Path) -> None:
    """It becomes a checkpoint without heads."""
    quantize(MINILM, TEXTS, tmp_path / "bare")
    assert Engine.load(str(tmp_path / "bare"), device="cpu", dtype="int8", threads=2).tasks == {"embed"}
    assert "difference" in json.loads((tmp_path / "bare" / "manifest.json").read_text())["int8"]


def test_a_few_texts_are_too_few(tmp_path: Path) -> None:
    """Ranges of a handful of texts would cut the next one."""
    with pytest.raises(BadModel, match="63 texts are too few"):
        quantize(DEFAULT_MODEL, TEXTS[:63], tmp_path / "never")
    assert not (tmp_path / "never").exists()


@pytest.mark.int8
def test_a_model_that_turns_too_far_is_refused_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, and nothing is written."""
    real: Any = difference
    monkeypatch.setattr(calibration, "difference", lambda *both: replace(real(*both), min_cosine=0.98))
    with pytest.raises(BadModel, match=r"its cosine is 0\.9800, below 0\.99; --force writes the checkpoint all the same"):
        quantize(DEFAULT_MODEL, TEXTS, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()
    assert quantize(DEFAULT_MODEL, TEXTS, tmp_path / "mine", is_forced=True).min_cosine == 0.98
    assert (checkpoint.load(str(tmp_path / "mine")).difference or {})["min_cosine"] == 0.98
