"""Scores that can be believed: one temperature for each head, by which its logits are divided (Guo et al., 2017).

It is the one under which the development labels are likeliest, and changes no label, only how sure the head says that it is. The
division is done once, in the parameters of the output layer, so that it costs nothing and every backend has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from worker.training.learning.losses import UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.model.heads import Head
    from worker.training.learning.objectives import HeadOutputs

LEAST, MOST = 0.05, 20.0
_NUM_HALVINGS = 60


def calibrate(head: Head, dev: HeadOutputs) -> float:
    """Divide the logits of a trained head by the temperature that suits what it says on dev, for good; return the temperature."""
    if head.config.is_multi_label:
        # Each label is a question of its own.
        found = fitted(dev.logits.reshape(-1, 1), dev.targets.reshape(-1))
    else:
        is_known = dev.targets != UNKNOWN
        found = fitted(dev.logits[is_known], dev.targets[is_known])
    head.divide_logits(found)
    return found


def fitted(logits: NDArray[np.float32], labels: NDArray[np.int64] | NDArray[np.float32]) -> float:
    """Return the temperature under which labels `[n]` are likeliest, between `LEAST` and `MOST`.

    Logits are `[n, labels]`, or `[n, 1]` for logistic regression; a probability as a label stands for the likelier one. As in
    Platt's scaling each label is taken for a little less than certain, so that a few rows that are all right do not make a head
    infinitely sure.
    """
    wide = logits.astype(np.float64)
    if wide.shape[1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
    own = np.rint(labels).astype(np.intp)
    doubt = 1 / (len(wide) + 2)
    true = np.full(wide.shape, doubt / (wide.shape[1] - 1))
    true[np.arange(len(wide)), own] = 1 - doubt
    wanted = float((true * wide).sum())
    # The derivative of the loss by the inverse temperature is what `_expected` is above `wanted`; it grows with the inverse.
    low, high = np.log(1 / MOST), np.log(1 / LEAST)
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _expected(wide, float(np.exp(middle))) > wanted else (middle, high)
    return float(np.exp(-(low + high) / 2))


def _expected(logits: NDArray[np.float64], inverse: float) -> float:
    """Return the sum of the logits that the head expects to be the true ones, at an inverse temperature."""
    scaled = inverse * (logits - logits.max(axis=1, keepdims=True))
    odds = np.exp(scaled)
    return float((odds / odds.sum(axis=1, keepdims=True) * logits).sum())
