"""One encoder beside another: how alike their vectors are, and how fast each is, on the same texts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from worker.model.quantization import predictions
from worker.training.evaluation.vectors import compare_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from worker.model.engine import Engine

_NUM_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike the vectors of two encoders are, over the same texts."""

    #: The mean cosine of a text's two vectors and that of the worst hundredth; None where they have not as many numbers.
    mean_cosine: float | None
    p01_cosine: float | None
    #: The rank correlation of the similarities of all pairs, and the ends of its 95 % interval.
    spearman: float
    spearman_low: float
    spearman_high: float
    #: How many of a text's ten nearest are the same, from 0 to 1; None for ten texts or fewer.
    top_10_overlap: float | None


def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> Agreement:
    """Compare vectors `[n, H]` of `n` > 2 texts; the second may be wider or narrower than the first."""
    figures = compare_vectors(one, other)
    cosines = None
    if one.shape == other.shape:
        sizes = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        cosines = (one * other).sum(axis=1) / np.maximum(sizes, np.finfo(np.float32).tiny)
    spearman, top = figures["Spearman"], figures.get("top-10 overlap")
    return Agreement(
        mean_cosine=None if cosines is None else float(cosines.mean()),
        p01_cosine=None if cosines is None else float(np.quantile(cosines, 0.01)),
        spearman=spearman.value,
        # Vectors that order all pairs alike give the same figure in every draw, and so no interval.
        spearman_low=float(np.fmin(spearman.low, spearman.value)),
        spearman_high=float(np.fmax(spearman.high, spearman.value)),
        top_10_overlap=top.value if top else None,
    )


def texts_per_s(engines: Mapping[str, Engine], texts: Sequence[str]) -> dict[str, float]:
    """Return how many texts a second each engine embeds, tokenizing included: the median of rounds in which they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        predictions(engine, texts)
    for _ in range(_NUM_ROUNDS):
        for name, engine in engines.items():
            started = time.perf_counter()
            predictions(engine, texts)
            seconds[name].append(time.perf_counter() - started)
    return {name: len(texts) / median(own_seconds) for name, own_seconds in seconds.items()}
