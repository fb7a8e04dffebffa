"""Generates an open-loop load: each due time is fixed before the first record is sent. Pure.

A sender that waits for answers sends nothing while the worker is slow, and so hides the highest latencies ("coordinated omission",
Tene 2015). Here the latency of a record counts from its due time, however late the sender was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def due_times_s(rate_per_s: float, seconds: float, *, seed: int) -> NDArray[np.float64]:
    """Return the due time of each record in seconds from the start, ascending, shape `[num_records]`.

    The arrivals are a Poisson process under the condition of exactly `rate_per_s * seconds` (rounded) records: given their number,
    arrival times are independent and uniform. The same seed gives the same times.
    """
    num_records = round(rate_per_s * seconds)
    return np.sort(np.random.default_rng(seed).uniform(0.0, seconds, num_records))


def divide_by_window(due_s: NDArray[np.float64], window_s: float) -> list[NDArray[np.float64]]:
    """Return ascending due times by windows of `window_s` seconds; windows without a due time are left out."""
    return np.split(due_s, np.flatnonzero(np.diff(np.floor(due_s / window_s))) + 1) if len(due_s) else []


def summarize_latency(waits_ms: Sequence[float]) -> dict[str, float]:
    """Return `p50_ms`, `p95_ms` and `p99_ms` of times in milliseconds; NaN for an empty sequence."""
    percentiles = (50, 95, 99)
    found = np.percentile(np.asarray(waits_ms, dtype=np.float64), percentiles) if waits_ms else np.full(len(percentiles), np.nan)
    return {f"p{percentile}_ms": float(value) for percentile, value in zip(percentiles, found, strict=True)}
