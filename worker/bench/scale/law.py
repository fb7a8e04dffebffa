"""The Universal Scalability Law (Gunther, "Guerrilla Capacity Planning", 2007), fitted to what was measured. Pure.

    X(n) = rate * n / (1 + contention * (n - 1) + coherence * n * (n - 1))

`contention` is the share of the work that is done one at a time, `coherence` what each must hear from every other. Divided by n and
turned over, it is linear in its unknowns, and is fitted so, in relative errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A curve says little past so many times the most that was measured.
REACH = 4
# Three unknowns need as many numbers of replicas.
_ENOUGH = 3


@dataclass(frozen=True, slots=True)
class ScalabilityLaw:
    """A fitted law."""

    #: Of one replica alone.
    rate: float
    contention: float
    coherence: float
    #: The most replicas that it was fitted to.
    max_measured: int
    #: The largest relative difference between the law and a measurement.
    error: float

    def at(self, num_replicas: float) -> float:
        """Return what so many replicas bring."""
        n = num_replicas
        return self.rate * n / (1 + self.contention * (n - 1) + self.coherence * n * (n - 1))

    @property
    def peak(self) -> float:
        """The number of replicas beyond which more bring less; infinite where there is none."""
        return math.sqrt(max(0.0, 1 - self.contention) / self.coherence) if self.coherence else math.inf

    @property
    def ceiling(self) -> float:
        """What no number of replicas exceeds; infinite where there is no such limit."""
        if self.coherence:
            return self.at(max(1.0, self.peak))
        return self.rate / min(1.0, self.contention) if self.contention else math.inf

    @property
    def limits(self) -> str:
        """What may not be read from it, for people."""
        said = (
            f"fitted to 1..{self.max_measured} replicas on one machine, so read it to about {REACH * self.max_measured}; it "
            "knows no more replicas than partitions, and other machines have a broker and cores of their own"
        )
        if self.max_measured < _ENOUGH:
            said += "; not fitted: coherence (two numbers of replicas cannot tell it from contention, and it is taken for 0)"
        return said


def fit(measured: Sequence[tuple[int, float]]) -> ScalabilityLaw:
    """Fit the law to throughputs by number of replicas; several of one number may be given. Raises `ValueError` without any.

    No coefficient is negative: one that would be is 0, and the others are fitted without it. Of one number of replicas only the
    rate is known, of two the contention too.
    """
    points = [(num, per_s) for num, per_s in measured if per_s > 0]
    if not points:
        raise ValueError("a law needs a measurement")
    n, per_s = (np.array(it, dtype=np.float64) for it in zip(*points, strict=True))
    columns = [np.ones_like(n), n - 1, n * (n - 1)][: len(set(n))]
    # Of the cost of a unit of work, relative to what was measured.
    chosen = list(range(len(columns)))
    while True:
        matrix = np.stack([columns[it] for it in chosen], axis=1) * (per_s / n)[:, None]
        found, *_ = np.linalg.lstsq(matrix, np.ones_like(n), rcond=None)
        if (found >= 0).all() or len(chosen) == 1:
            break
        # The rate stays: without it there is no law.
        chosen.pop(int(np.argmin(found[1:])) + 1)
    cost = dict(zip(chosen, found.tolist(), strict=True))
    law = ScalabilityLaw(1 / cost[0], cost.get(1, 0.0) / cost[0], cost.get(2, 0.0) / cost[0], int(n.max()), 0.0)
    error = max(abs(law.at(num) / it - 1) for num, it in points)
    return ScalabilityLaw(law.rate, law.contention, law.coherence, law.max_measured, error)
