"""How much of what sentence vectors were good for is left after training: the same texts, before and after. Pure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from worker.training.evaluation.bootstrap import bootstrap_mean, estimates, share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.training.evaluation.bootstrap import BootstrapEstimate, Floats, Statistic

_TOPS = (1, 10)


def retention(before: NDArray[np.float32], after: NDArray[np.float32], **options: int) -> dict[str, BootstrapEstimate]:
    """Compare the vectors of the same `n` > 2 different texts, `[n, H]` each, by what they say of each pair of texts.

    Pearson's and Spearman's correlation of the cosines of all pairs, and how many of a text's nearest stay its nearest. Where
    texts are drawn again, a text does not pair with its own copies, and ranks and neighbours stay those among all texts.
    """
    both = cosines(before), cosines(after)
    statistics: dict[str, Statistic] = {"Pearson": _correlation(*both), "Spearman": _correlation(*map(_ranks, both))}
    for top in _TOPS:
        if top < len(before):
            statistics[f"top-{top} overlap"] = bootstrap_mean(_overlaps(*both, top))
    num_counted = {name: [len(before)] for name in statistics if name.startswith("top-")}
    return estimates(statistics, len(before), num_counted=num_counted, **options)


def cosines(vectors: NDArray[np.float32]) -> Floats:
    """Return the cosine of each two vectors, `[n, n]`, and 0 on the diagonal."""
    wide = vectors.astype(np.float64)
    unit = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    found: Floats = unit @ unit.T
    np.fill_diagonal(found, 0.0)
    return found


def _ranks(values: Floats) -> Floats:
    """Return the rank of each pair's value among those of all pairs, equal ones sharing theirs; 0 on the diagonal."""
    pairs = np.triu_indices(len(values), 1)
    _, places, counts = np.unique(values[pairs], return_inverse=True, return_counts=True)
    ranks = np.zeros_like(values)
    ranks[pairs] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks + ranks.T


def _correlation(one: Floats, other: Floats) -> Statistic:
    """Return Pearson's correlation of two values that each pair of texts has, 0 on the diagonals."""
    # Shifted to means near 0, the sums below lose no digits.
    num_pairs = len(one) * (len(one) - 1)
    one, other = ((it - it.sum() / num_pairs) * ~np.eye(len(it), dtype=bool) for it in (one, other))
    sums = [partial(_sum_of_pairs, it) for it in (one, other, one * one, other * other, one * other)]

    def statistic(weights: Floats) -> Floats:
        total = weights.sum(1) ** 2 - (weights**2).sum(1)
        x, y, xx, yy, xy = (share(of(weights), total) for of in sums)
        variance = np.maximum(xx - x * x, 0) * np.maximum(yy - y * y, 0)
        return share(xy - x * y, np.sqrt(variance))

    return statistic


def _sum_of_pairs(values: Floats, weights: Floats) -> Floats:
    total: Floats = ((weights @ values) * weights).sum(axis=1)
    return total


def _overlaps(one: Floats, other: Floats, top: int) -> Floats:
    """Return for each text the share of its nearest `top` by one measure that are so by the other."""
    found: Floats = (_nearest(one, top) & _nearest(other, top)).sum(axis=1) / top
    return found


def _nearest(values: Floats, top: int) -> NDArray[np.bool_]:
    distances = -values
    np.fill_diagonal(distances, np.inf)
    is_near = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(is_near, np.argsort(distances, axis=1, kind="stable")[:, :top], values=True, axis=1)
    return is_near
