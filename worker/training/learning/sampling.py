"""Which texts make the batches of an epoch, and of which task each is. Pure.

An epoch has as many batches as all tasks have together, or as many as was asked. Each task gets a share of them: in proportion to
its size, to the root of it, or to its size to the power of 1 / T, the more evenly the higher T is. A task that gets more than it
has is gone through again, in another order; one that gets less shows other texts in the next epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from worker.training.config import Training


def compute_exponent(training: Training) -> float:
    """Return the power of its size by which a task is drawn."""
    return {"proportional": 1.0, "square-root": 0.5, "temperature": 1 / training.sampling_temperature}[training.sampling]


def num_batches(sizes: Sequence[int], batch_texts: int) -> int:
    """Return how many batches an epoch has that shows each text once."""
    return sum(-(-size // batch_texts) for size in sizes)


def quotas(sizes: Sequence[int], total: int, exponent: float) -> list[int]:
    """Share `total` batches out among tasks, each at least one, by the largest remainders."""
    weights = np.array(sizes, dtype=np.float64) ** exponent
    wanted = weights / weights.sum() * total
    shares = np.maximum(1, np.floor(wanted)).astype(int)
    for number in np.argsort(np.floor(wanted) - wanted, kind="stable")[: max(0, total - int(shares.sum()))]:
        shares[number] += 1
    quotas_: list[int] = shares.tolist()
    return quotas_


def batches(
    sides: Sequence[NDArray[np.int64]], total: int, *, batch_texts: int, exponent: float, generator: np.random.Generator
) -> list[tuple[int, NDArray[np.int64]]]:
    """Return the batches of an epoch, `total` or one for each task, in order: the task's number, and the numbers of its texts."""
    shares = quotas([len(side) for side in sides], total, exponent)
    drawn = [_drawn(side, count, batch_texts, generator) for side, count in zip(sides, shares, strict=True)]
    order = generator.permutation(np.repeat(np.arange(len(sides)), shares)).tolist()
    return [(number, next(drawn[number])) for number in order]


def _drawn(side: NDArray[np.int64], count: int, batch_texts: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches of a task: each text once, before any is there twice."""
    rounds = -(-count * batch_texts // len(side)) + 1
    order = np.concatenate([generator.permutation(side) for _ in range(rounds)])
    per_round = -(-len(side) // batch_texts)
    for number in range(count):
        turn, place = divmod(number, per_round)
        first = turn * len(side) + place * batch_texts
        yield np.sort(order[first : min(first + batch_texts, (turn + 1) * len(side))])
