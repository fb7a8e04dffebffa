"""An offered load: when each message is due, decided before the first is sent, so that a slow worker slows nobody down. Pure.

A sender that waits for its answers hides the worst latencies, because it sends nothing while they last ("coordinated omission",
Tene 2015). Here a message's latency counts from the time at which it was due, however late it really left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def due_times_s(rate_per_s: float, seconds: float, *, seed: int) -> NDArray[np.float64]:
    """Return when each message is due, in seconds from the start, ascending, shape `[num_messages]`.

    Arrivals of a Poisson process with `rate_per_s` on average: exactly `rate_per_s * seconds` (rounded) of them, which given their
    number are independent and uniform. The same seed gives the same times.
    """
    num_messages = round(rate_per_s * seconds)
    return np.sort(np.random.default_rng(seed).uniform(0.0, seconds, num_messages))


@dataclass(frozen=True, slots=True)
class Latency:
    """What most, many and nearly all messages waited, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


def latency(waits_ms: Sequence[float]) -> Latency:
    """Summarise waits, in milliseconds; not-a-number of none."""
    if not waits_ms:
        return Latency(float("nan"), float("nan"), float("nan"))
    p50, p95, p99 = np.percentile(np.asarray(waits_ms, dtype=np.float64), [50, 95, 99])
    return Latency(float(p50), float(p95), float(p99))
