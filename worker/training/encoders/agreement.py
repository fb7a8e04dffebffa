"""Agreement of the vectors of two encoders, and the throughput of each, on the same texts."""

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
    """The agreement of the vectors of two encoders on the same texts."""

    #: Mean and 1st percentile of the cosine of a text's two vectors; None for vectors of different widths.
    mean_cosine: float | None
    p01_cosine: float | None
    #: Spearman's correlation of the similarities of all pairs, with its 95 % interval.
    spearman: float
    spearman_low: float
    spearman_high: float
    #: The share of common neighbours among the ten nearest; None for ten texts or fewer.
    top_10_overlap: float | None


def measure_agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> Agreement:
    """Compare vectors `[n, H]` of `n` > 2 texts; the widths may differ."""
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
        # Equal orders of all pairs have no spread, and so no interval.
        spearman_low=float(np.fmin(spearman.low, spearman.value)),
        spearman_high=float(np.fmax(spearman.high, spearman.value)),
        top_10_overlap=top.value if top else None,
    )


def measure_throughput(engines: Mapping[str, Engine], texts: Sequence[str]) -> dict[str, float]:
    """Return the texts per second that each engine tokenizes and embeds: the median of alternating rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        predictions(engine, texts)
    for _ in range(_NUM_ROUNDS):
        for name, engine in engines.items():
            started = time.perf_counter()
            predictions(engine, texts)
            seconds[name].append(time.perf_counter() - started)
    return {name: len(texts) / median(own_seconds) for name, own_seconds in seconds.items()}
