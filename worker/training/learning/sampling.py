"""The batches of an epoch, and the learning rate of a step. Pure.

An epoch has the batches of all tasks together, or a fixed number. The share of a task is proportional to its size to the power of
1, 1/2 or 1/T; a higher T makes the shares more even. A task with more batches than texts repeats its texts in another order. A task
with fewer batches continues with other texts in the next epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from worker.training.config import Training


def compute_exponent(training: Training) -> float:
    """Return the exponent of a task's size in its share of batches."""
    return {"proportional": 1.0, "square-root": 0.5, "temperature": 1 / training.sampling_temperature}[training.sampling]


def count_batches(sizes: Sequence[int], batch_texts: int) -> int:
    """Return the number of batches that contain each text once."""
    return sum(-(-size // batch_texts) for size in sizes)


def share_batches(sizes: Sequence[int], total: int, exponent: float) -> list[int]:
    """Divide `total` batches among tasks by the largest remainders, at least one for each task."""
    weights = np.array(sizes, dtype=np.float64) ** exponent
    wanted = weights / weights.sum() * total
    shares = np.maximum(1, np.floor(wanted)).astype(int)
    for number in np.argsort(np.floor(wanted) - wanted, kind="stable")[: max(0, total - int(shares.sum()))]:
        shares[number] += 1
    quotas_: list[int] = shares.tolist()
    return quotas_


def draw_batches(
    sides: Sequence[NDArray[np.int64]], total: int, *, batch_texts: int, exponent: float, generator: np.random.Generator
) -> list[tuple[int, NDArray[np.int64]]]:
    """Return the batches of an epoch in order: the index of the task, and the indices of its texts."""
    shares = share_batches([len(side) for side in sides], total, exponent)
    drawn = [_draw(side, count, batch_texts, generator) for side, count in zip(sides, shares, strict=True)]
    order = generator.permutation(np.repeat(np.arange(len(sides)), shares)).tolist()
    return [(number, next(drawn[number])) for number in order]


def compute_rate_factor(step: int, *, num_steps: int, warm_up: float, is_linear: bool = True) -> float:
    """Return the factor of the learning rate at a step, from 0: it rises in a share `warm_up` of the steps, then falls or stays."""
    num_rising = round(warm_up * num_steps)
    if step < num_rising:
        return (step + 1) / num_rising
    return (num_steps - step) / max(1, num_steps - num_rising) if is_linear else 1.0


def split_by_tokens(lengths: Sequence[int], max_tokens: int) -> Iterator[slice]:
    """Yield the ranges of texts of each forward pass, in order; a longer text is a pass of its own."""
    first, total = 0, 0
    for number, length in enumerate(lengths):
        if number > first and total + length > max_tokens:
            yield slice(first, number)
            first, total = number, 0
        total += length
    if lengths:
        yield slice(first, len(lengths))


def _draw(side: NDArray[np.int64], count: int, batch_texts: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield batches of a task; each text comes once before any text comes twice."""
    rounds = -(-count * batch_texts // len(side)) + 1
    order = np.concatenate([generator.permutation(side) for _ in range(rounds)])
    per_round = -(-len(side) // batch_texts)
    for number in range(count):
        turn, place = divmod(number, per_round)
        first = turn * len(side) + place * batch_texts
        yield np.sort(order[first : min(first + batch_texts, (turn + 1) * len(side))])
