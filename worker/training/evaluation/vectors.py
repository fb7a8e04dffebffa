"""How similar the sentence vectors of two encoders are, on the same texts. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from worker.training.evaluation.bootstrap import DEFAULT_DRAWS, estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from worker.training.evaluation.bootstrap import BootstrapEstimate, Draws, Floats, Indices, Statistic

_NUM_NEIGHBOURS = (1, 10)


def compare_vectors(
    before: NDArray[np.float32], after: NDArray[np.float32], draws: Draws = DEFAULT_DRAWS
) -> dict[str, BootstrapEstimate]:
    """Compare two vectors of each of `n` > 2 different texts, `[n, H]` each.

    The figures are Pearson's and Spearman's correlation of the cosines of all pairs, and the share of common nearest neighbours. A
    draw with a text twice has no pair of the two copies; ranks and neighbours are those among all texts.
    """
    num_texts = len(before)
    first, second = cosines(before), cosines(after)
    found = {
        "Pearson": estimate(build_correlation(first, second), num_texts, draws),
        "Spearman": estimate(build_correlation(rank_pairs(first), rank_pairs(second)), num_texts, draws),
    }
    for number in _NUM_NEIGHBOURS:
        if number < num_texts:
            shares = (_find_nearest(first, number) & _find_nearest(second, number)).sum(axis=1) / number
            statistic = _build_mean(shares)
            found[f"top-{number} overlap"] = estimate(statistic, num_texts, draws, num_counted=[num_texts])
    return found


def cosines(vectors: NDArray[np.float32]) -> Floats:
    """Return the cosine of each pair of vectors, `[n, n]`, with 0 on the diagonal."""
    wide = vectors.astype(np.float64)
    unit = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    found: Floats = unit @ unit.T
    np.fill_diagonal(found, 0.0)
    return found


def rank_pairs(values: Floats) -> Floats:
    """Return the rank of each pair's value among all pairs, `[n, n]`; equal values share a rank; 0 on the diagonal."""
    ranks: Floats = squareform(rankdata(values[np.triu_indices(len(values), 1)]))
    return ranks


def build_correlation(first: Floats, second: Floats) -> Statistic:
    """Return Pearson's correlation of two values of each pair of texts, `[n, n]` with 0 on the diagonals, as a statistic."""
    num_texts = len(first)
    # A mean near 0 keeps the digits of the sums below.
    num_pairs = num_texts * (num_texts - 1)
    first, second = ((values - values.sum() / num_pairs) * ~np.eye(num_texts, dtype=np.bool_) for values in (first, second))
    products = (first, second, first * first, second * second, first * second)

    def compute(texts: Indices, axis: int = -1) -> Floats:
        # How often each text is drawn: a pair counts as often as the product says.
        weights = np.apply_along_axis(np.bincount, axis, texts, minlength=num_texts).astype(np.float64)
        total = weights.sum(-1) ** 2 - (weights**2).sum(-1)
        x, y, xx, yy, xy = (_divide(((weights @ product) * weights).sum(-1), total) for product in products)
        return _divide(xy - x * y, np.sqrt(np.maximum(xx - x * x, 0) * np.maximum(yy - y * y, 0)))

    return compute


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, with NaN for a division by 0."""
    quotient: Floats = np.divide(numerator, denominator, out=np.full(np.shape(denominator), np.nan), where=denominator > 0)
    return quotient


def _build_mean(values: Floats) -> Statistic:
    return lambda texts: values[texts].mean()


def _find_nearest(values: Floats, number: int) -> NDArray[np.bool_]:
    distances = -values
    np.fill_diagonal(distances, np.inf)
    is_near = np.zeros(values.shape, dtype=np.bool_)
    np.put_along_axis(is_near, np.argsort(distances, axis=1, kind="stable")[:, :number], values=True, axis=1)
    return is_near
