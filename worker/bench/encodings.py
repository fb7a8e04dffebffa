"""What an encoding of vectors costs in retrieval: who is found, against who is found with the exact vectors. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: How many neighbours are sought, and among how many candidates where the exact vectors of these are compared afterwards.
NUM_NEIGHBOURS = 10
NUM_CANDIDATES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What one encoding costs, over some vectors."""

    encoding: str
    num_vectors: int
    #: The mean size of a message's value.
    value_bytes: float
    #: Of each vector's `NUM_NEIGHBOURS` exact nearest, the share that is among as many nearest here.
    recall: float
    #: The same among the `NUM_CANDIDATES` nearest here.
    recall_of_candidates: float
    #: How far the cosine of two different vectors is off, in the mean and at most.
    mean_cosine_error: float
    max_cosine_error: float


def loss(encoding: str, value_bytes: float, exact: NDArray[np.float32], decoded: NDArray[np.float32]) -> Loss:
    """Compare the cosines between `decoded` vectors with those between the `exact` ones, both `[n, H]`, with n > 1."""
    true, found = _cosines(exact), _cosines(decoded)
    others = ~np.eye(len(exact), dtype=bool)
    errors = np.abs(true - found)[others]
    wanted = _nearest(true, NUM_NEIGHBOURS)
    return Loss(
        encoding=encoding,
        num_vectors=len(exact),
        value_bytes=value_bytes,
        recall=_share(wanted, _nearest(found, NUM_NEIGHBOURS)),
        recall_of_candidates=_share(wanted, _nearest(found, NUM_CANDIDATES)),
        mean_cosine_error=float(errors.mean()),
        max_cosine_error=float(errors.max()),
    )


def _cosines(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each two vectors, `[n, n]`."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    cosines: NDArray[np.float32] = unit @ unit.T
    return cosines


def _nearest(cosines: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Return who is among the `count` nearest of each, but for itself, bool, `[n, n]`."""
    distances = -cosines
    np.fill_diagonal(distances, np.inf)
    count = min(count, len(distances) - 1)
    nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
    is_near = np.zeros(distances.shape, dtype=bool)
    np.put_along_axis(is_near, nearest, values=True, axis=1)
    return is_near


def _share(wanted: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    return float((wanted & found).sum() / wanted.sum())
