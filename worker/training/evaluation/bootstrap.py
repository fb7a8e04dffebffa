"""95 % intervals of figures by the bootstrap: the figure is computed again on texts that are drawn with replacement. Pure.

If all texts are alike, all draws are alike: 30 right texts of 30 would give [1, 1]. A share without spread therefore gets Wilson's
interval, and any other figure without spread gets no interval.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.intp]
#: Computes a figure from the indices of texts, `[n]`; NaN if the texts give no value. A statistic with a parameter `axis` computes
#: the figures of many draws at once, `[draws, n]` → `[draws]`.
Statistic: TypeAlias = Callable[..., Any]
_INTERVAL = (0.025, 0.975)
# A smaller difference of the ends is a rounding error.
_MIN_SPREAD = 1e-9
# Draws per call of scipy: bounds the memory of the indices.
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Draws:
    """The bootstrap draws; the same seed gives the same draws."""

    num: int = 1000
    seed: int = 0


DEFAULT_DRAWS = Draws()


@dataclass(frozen=True, slots=True)
class BootstrapEstimate:
    """A figure and the ends of its 95 % interval; NaN if the texts give none."""

    value: float
    low: float
    high: float


def estimate(
    statistic: Statistic, num_texts: int, draws: Draws = DEFAULT_DRAWS, *, num_counted: Sequence[int] = ()
) -> BootstrapEstimate:
    """Return a figure with its interval.

    `num_counted` is for a share, or a mean of shares: the number of texts that each share counts.
    """
    if not num_texts:
        return BootstrapEstimate(math.nan, math.nan, math.nan)
    texts = np.arange(num_texts)
    value = float(statistic(texts))
    low, high = _draw_interval(statistic, texts, draws) if num_texts > 1 else (value, value)
    if high - low > _MIN_SPREAD:
        return BootstrapEstimate(value, low, high)
    ends = [wilson(value, num) for num in num_counted if num and not math.isnan(value)]
    if not ends:
        return BootstrapEstimate(value, math.nan, math.nan)
    # The mean of the ends is wider than the interval of a mean of independent shares.
    return BootstrapEstimate(value, fmean(low for low, _ in ends), fmean(high for _, high in ends))


def wilson(value: float, num_counted: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of some texts, which are at least one."""
    interval = stats.binomtest(round(value * num_counted), num_counted).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def _draw_interval(statistic: Statistic, texts: Indices, draws: Draws) -> tuple[float, float]:
    """Return the interval's ends, without the draws that give no value."""
    options: dict[str, Any] = {"n_resamples": draws.num, "batch": _BATCH, "method": "percentile", "rng": draws.seed}
    with warnings.catch_warnings():
        # Draws without a value are expected, and left out below.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        drawn = stats.bootstrap((texts,), statistic, **options).bootstrap_distribution
    drawn = drawn[~np.isnan(drawn)]
    low, high = np.quantile(drawn, _INTERVAL).tolist() if len(drawn) else (math.nan, math.nan)
    return low, high
