"""Measures the loss of a vector encoding in retrieval: recall of the nearest neighbours of the exact vectors. Pure numpy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from worker.bench.frame.machine import describe_machine
from worker.bench.frame.report import Report, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Neighbours to find, and candidates for a search that compares exact vectors afterwards.
NUM_NEIGHBOURS = 10
NUM_CANDIDATES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The loss of one encoding over some vectors."""

    encoding: str
    num_vectors: int
    #: Mean size of a record's value.
    value_bytes: float
    #: Mean share of the `NUM_NEIGHBOURS` exact nearest neighbours among as many nearest neighbours of the decoded vectors.
    recall: float
    #: The same among the `NUM_CANDIDATES` nearest neighbours of the decoded vectors.
    recall_of_candidates: float
    #: Error of the cosine of two different vectors: mean and maximum.
    mean_cosine_error: float
    max_cosine_error: float


def measure_loss(encoding: str, value_bytes: float, exact: NDArray[np.float32], decoded: NDArray[np.float32]) -> Loss:
    """Compare the cosines of `decoded` vectors with those of the `exact` ones, both `[n, H]`, with n > 1."""
    true, found = _cosines(exact), _cosines(decoded)
    errors = np.abs(true - found)[~np.eye(len(exact), dtype=bool)]
    wanted = _find_nearest(true, NUM_NEIGHBOURS)
    return Loss(
        encoding=encoding,
        num_vectors=len(exact),
        value_bytes=value_bytes,
        recall=_share(wanted, _find_nearest(found, NUM_NEIGHBOURS)),
        recall_of_candidates=_share(wanted, _find_nearest(found, NUM_CANDIDATES)),
        mean_cosine_error=float(errors.mean()),
        max_cosine_error=float(errors.max()),
    )


def build_report(losses: Sequence[Loss]) -> Report:
    """Return a table with a row for each encoding."""
    rows = []
    for loss in losses:
        recalls = (f"{loss.recall:.4f}", f"{loss.recall_of_candidates:.4f}")
        rows.append(
            [loss.encoding, f"{loss.value_bytes:.0f}", *recalls, f"{loss.mean_cosine_error:.5f}", f"{loss.max_cosine_error:.5f}"]
        )
    columns = (
        "encoding",
        "bytes per record",
        f"recall@{NUM_NEIGHBOURS}",
        f"in the nearest {NUM_CANDIDATES}",
        "cosine error",
        "maximum",
    )
    smallest = min(losses, key=lambda loss: loss.value_bytes)
    return Report(
        title="Encodings of vectors",
        claim=f"{smallest.encoding}: {smallest.value_bytes:.0f} bytes per record, recall@{NUM_NEIGHBOURS} {smallest.recall:.2f}",
        machine=describe_machine(),
        tables=[Table(title=f"{losses[0].num_vectors} sentences, nearest neighbours by cosine", columns=columns, rows=rows)],
        summary={loss.encoding: loss.recall for loss in losses},
        details={"losses": [asdict(loss) for loss in losses]},
    )


def _cosines(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each pair of vectors, `[n, n]`."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    cosines: NDArray[np.float32] = unit @ unit.T
    return cosines


def _find_nearest(cosines: NDArray[np.float32], count: int) -> NDArray[np.bool_]:
    """Return which vectors are among the `count` nearest of each vector, without itself, bool, `[n, n]`."""
    distances = -cosines
    np.fill_diagonal(distances, np.inf)
    count = min(count, len(distances) - 1)
    nearest = np.argpartition(distances, count - 1, axis=1)[:, :count]
    is_near = np.zeros(distances.shape, dtype=bool)
    np.put_along_axis(is_near, nearest, values=True, axis=1)
    return is_near


def _share(wanted: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    return float((wanted & found).sum() / wanted.sum())
