"""How sure a figure is: a 95 % interval, by drawing as many texts again from those that it was measured on. Pure.

A statistic is written once, for many draws: from how often each of `n` texts counts in each draw, `[draws, n]`, to one value for
each draw, NaN where it has none. The figure itself is the statistic of the one draw in which each text counts once.

Draws from texts that are all alike are all alike too: 30 texts of which 30 are right would give [1, 1], which is no 95 % interval.
Where the percentiles have no spread, a share gets Wilson's interval (Wilson, 1927), and another figure none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Floats: TypeAlias = NDArray[np.float64]
Statistic: TypeAlias = Callable[[Floats], Floats]
NUM_DRAWS = 1000
_INTERVAL = (0.025, 0.975)
# Ends of an interval that differ by less than this differ by rounding alone.
_NO_SPREAD = 1e-9
# Draws are made a few at a time, so that many texts do not cost much memory.
_MAX_CELLS = 1 << 21


@dataclass(frozen=True, slots=True)
class BootstrapEstimate:
    """A figure, and the ends of its 95 % interval; NaN where the texts give none."""

    value: float
    low: float
    high: float


def estimates(
    statistics: Mapping[str, Statistic],
    num_texts: int,
    *,
    num_counted: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
) -> dict[str, BootstrapEstimate]:
    """Return each figure over some texts; all see the same draws, and the same seed draws the same.

    `num_counted` has an entry for each figure that is a share, or a mean of shares: the number of texts that each share counts.
    """
    counts = num_counted or {}
    drawn: dict[str, list[Floats]] = {name: [] for name in statistics}
    for weights in _draws(num_texts, num_draws, seed) if num_texts else ():
        for name, statistic in statistics.items():
            drawn[name].append(statistic(weights))
    once = np.ones((1, num_texts))
    return {name: _estimate(float(statistic(once)[0]), drawn[name], counts.get(name, ())) for name, statistic in statistics.items()}


def wilson(value: float, num_counted: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % interval of a share that was measured on some texts, of which there is at least one."""
    z = NormalDist().inv_cdf(_INTERVAL[1])
    weight = z * z / num_counted
    centre = (value + weight / 2) / (1 + weight)
    half = math.sqrt(weight * (value * (1 - value) + weight / 4)) / (1 + weight)
    return max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half))


def share(top: Floats, bottom: Floats) -> Floats:
    """Divide; NaN where there is nothing to divide by."""
    found: Floats = np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=bottom > 0)
    return found


def bootstrap_mean(values: Floats) -> Statistic:
    """Return the mean of a value that each text has."""
    return lambda weights: share(weights @ values, weights.sum(1))


def _draws(num_texts: int, num_draws: int, seed: int) -> Iterator[Floats]:
    """Yield how often each text counts, some draws at a time."""
    generator = np.random.default_rng(seed)
    step = max(1, _MAX_CELLS // num_texts)
    for first in range(0, num_draws, step):
        count = min(step, num_draws - first)
        places = generator.integers(num_texts, size=(count, num_texts)) + num_texts * np.arange(count)[:, None]
        yield np.bincount(places.ravel(), minlength=count * num_texts).reshape(count, num_texts).astype(np.float64)


def _estimate(value: float, drawn: list[Floats], num_counted: Sequence[int]) -> BootstrapEstimate:
    values = np.concatenate([np.empty(0), *drawn])
    values = values[~np.isnan(values)]
    low, high = np.quantile(values, _INTERVAL).tolist() if len(values) else (value, value)
    if high - low > _NO_SPREAD:
        return BootstrapEstimate(value, low, high)
    ends = [wilson(value, num) for num in num_counted if num and not math.isnan(value)]
    if not ends:
        return BootstrapEstimate(value, math.nan, math.nan)
    # The mean of the ends is wider than the interval of a mean of independent shares.
    return BootstrapEstimate(value, fmean(low for low, _ in ends), fmean(high for _, high in ends))
