"""Calibration of scores: the logits of a head are divided by a temperature (Guo et al., 2017).

The temperature maximises the likelihood of the dev labels. It changes no label, only the probabilities. The parameters of the
output layer are divided once, so that serving has no extra cost on any backend.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import brentq

from worker.training.learning.losses import UNKNOWN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.model.heads.heads import Head
    from worker.training.learning.objectives import HeadOutputs

LEAST, MOST = 0.05, 20.0


def calibrate(head: Head, dev: HeadOutputs) -> float:
    """Divide the output layer of a head by the temperature of its outputs on dev; return the temperature."""
    if head.config.is_multi_label:
        # Each label is a binary decision.
        found = fit_temperature(dev.logits.reshape(-1, 1), dev.targets.reshape(-1))
    else:
        is_known = dev.targets != UNKNOWN
        found = fit_temperature(dev.logits[is_known], dev.targets[is_known])
    head.divide_logits(found)
    return found


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.int64] | NDArray[np.float32]) -> float:
    """Return the temperature with the highest likelihood of labels `[n]`, between `LEAST` and `MOST`.

    Logits are `[n, labels]`, or `[n, 1]` for a binary head; a probability as a label is rounded. As in Platt's scaling, labels are
    slightly less than certain, so that a few right rows do not give a temperature of 0.
    """
    wide = logits.astype(np.float64)
    if wide.shape[1] == 1:
        wide = np.concatenate([np.zeros_like(wide), wide], axis=1)
    own = np.rint(labels).astype(np.intp)
    doubt = 1 / (len(wide) + 2)
    true = np.full(wide.shape, doubt / (wide.shape[1] - 1))
    true[np.arange(len(wide)), own] = 1 - doubt
    wanted = float((true * wide).sum())
    # The derivative of the loss with respect to the inverse temperature, which grows with the inverse, is `_expected` - `wanted`.
    low, high = float(np.log(1 / MOST)), float(np.log(1 / LEAST))

    def slope(log_inverse: float) -> float:
        return _expected(wide, float(np.exp(log_inverse))) - wanted

    if slope(low) >= 0 or slope(high) <= 0:
        return MOST if slope(low) >= 0 else LEAST
    return float(np.exp(-brentq(slope, low, high)))


def _expected(logits: NDArray[np.float64], inverse: float) -> float:
    """Return the sum of the expected logits at an inverse temperature."""
    scaled = inverse * (logits - logits.max(axis=1, keepdims=True))
    odds = np.exp(scaled)
    return float((odds / odds.sum(axis=1, keepdims=True) * logits).sum())
