"""Temperatures: the one under which the labels are likeliest, and in the head's parameters for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.model.conftest import MINILM
from worker.model.checkpoint import checkpoint
from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head
from worker.model.outputs.labels_and_entities import classifications
from worker.training.evaluation.labels import build_calibration_error, build_predictions
from worker.training.learning.losses import UNKNOWN
from worker.training.learning.objectives import HeadOutputs
from worker.training.learning.temperature import LEAST, MOST, calibrate, fit_temperature

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model


def drawn(num_rows: int, num_labels: int, seed: int = 0) -> tuple[Any, Any]:
    """Return logits, and labels that are drawn with exactly the probabilities that they stand for."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(num_rows, num_labels)) * 1.5
    odds = np.exp(logits)
    labels = (odds.cumsum(1) < random.random((num_rows, 1)) * odds.sum(1, keepdims=True)).sum(1)
    return logits.astype(np.float32), labels.astype(np.int64)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("num_labels", [2, 5])
def test_the_temperature_divides_the_logits(factor: float, num_labels: int) -> None:
    """Logits that are too large by a factor have this factor as their temperature."""
    logits, labels = drawn(20_000, num_labels)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.05)
    if num_labels == 2:
        assert fit_temperature(factor * (logits[:, 1:] - logits[:, :1]), labels) == pytest.approx(factor, rel=0.05)


@given(num_rows=st.integers(1, 30), num_labels=st.integers(1, 4), scale=st.floats(0, 100), seed=st.integers(0, 100))
def test_no_other_temperature_is_better(num_rows: int, num_labels: int, scale: float, seed: int) -> None:
    """The temperature is a minimum of the loss for any logits and any number of rows."""
    random = np.random.default_rng(seed)
    logits = (scale * random.normal(size=(num_rows, num_labels))).astype(np.float32)
    labels = random.integers(max(2, num_labels), size=num_rows)
    found = fit_temperature(logits, labels)
    assert LEAST <= found <= MOST

    def loss(temperature: float) -> float:
        wide = logits.astype(np.float64)
        wide = (np.concatenate([np.zeros_like(wide), wide], axis=1) if num_labels == 1 else wide) / temperature
        logs = wide - wide.max(1, keepdims=True)
        logs -= np.log(np.exp(logs).sum(1, keepdims=True))
        true, doubt = logs[np.arange(num_rows), labels], 1 / (num_rows + 2)
        others = (logs.sum(1) - true) / (wide.shape[1] - 1)
        return float(-((1 - doubt) * true + doubt * others).sum())

    for other in (found * 0.97, found / 0.97):
        if LEAST <= other <= MOST:
            assert loss(found) <= loss(other) + 1e-9


def test_a_probability_stands_for_the_likelier_label() -> None:
    """A target above 0.5 counts as the label 1, any other target as 0."""
    logits, labels = drawn(200, 1)[0], np.random.default_rng(1).integers(2, size=200)
    assert fit_temperature(logits, (0.2 + 0.6 * labels).astype(np.float32)) == fit_temperature(logits, labels)


def test_a_few_rows_that_are_all_right_leave_a_doubt() -> None:
    """Two right rows give a temperature above 1, not infinite certainty."""
    assert fit_temperature(np.array([[9.0], [-9.0]], dtype=np.float32), np.array([1, 0])) > 1


@pytest.mark.parametrize("labels", [("a", "b"), ("a", "b", "c")])
def test_a_calibrated_head_says_the_same_and_can_be_believed(tmp_path: Path, labels: tuple[str, ...]) -> None:
    """After saving and loading, predictions are the same and the calibration error is at most half."""
    logits, true = drawn(4000, len(labels))
    config = HeadConfig(name="h", task="classify", labels=labels, layers=(6,))
    head = Head(config, 384)
    wanted = logits[:, 1:] - logits[:, :1] if len(labels) == 2 else logits
    with torch.no_grad():
        # States in which the head, far too sure, reads what they stand for.
        head.norm = torch.nn.LayerNorm(384, elementwise_affine=True)
        states = torch.randn(len(true), 384)
        solution = torch.linalg.lstsq(head.norm(states[:300]), torch.from_numpy(wanted[:300])).solution
        head.output.weight.copy_(4 * solution.T)
        head.output.bias.zero_()
    states, true = states[:300], true[:300]
    before = said(head, states, true)
    found = calibrate(head, HeadOutputs(compute_logits(head, states), true, np.arange(301)))
    assert found > 2
    checkpoint.save(tmp_path, name="m", encoder_reference=MINILM, heads=[head], training={}, card="")
    loaded = checkpoint.load(str(tmp_path)).modules["h"]
    assert isinstance(loaded, Head)
    assert loaded.config.temperature == found
    after = said(loaded, states, true)
    np.testing.assert_array_equal(after.predicted, before.predicted)
    assert error(after) < error(before) / 2


def compute_logits(head: Head, states: torch.Tensor) -> Any:
    """Return the logits of some rows."""
    with torch.inference_mode():
        return head.eval()([states]).numpy()


def said(head: Head, states: torch.Tensor, true: Any) -> Any:
    """Return what a head says of some rows, beside what is true."""
    labels = head.config.labels
    found = [classification.scores for classification in classifications(head.config, compute_logits(head, states))]
    return build_predictions(labels, [labels[int(entry)] for entry in true], found)


def test_unknown_targets_do_not_count() -> None:
    """Rows with unknown labels do not change the temperature."""
    logits, labels = drawn(200, 3)
    heads = [Head(HeadConfig(name="h", task="classify", labels=("a", "b", "c"), layers=(6,)), 384) for _ in range(2)]
    found = calibrate(heads[0], HeadOutputs(logits, labels, np.arange(201)))
    more = np.concatenate([logits, 100 * logits[:50]])
    told = np.concatenate([labels, np.full(50, UNKNOWN)])
    assert calibrate(heads[1], HeadOutputs(more, told, np.arange(251))) == found


def error(value: Any) -> float:
    """Return the expected calibration error."""
    texts = np.arange(len(value.true))
    return float(build_calibration_error(value.confidence, value.is_right, texts)(texts))
