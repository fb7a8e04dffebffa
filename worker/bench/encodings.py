"""Measures the loss of a vector encoding in retrieval: recall of the nearest neighbours of the exact vectors. Pure numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from worker.bench.frame.machine import describe_machine
from worker.bench.frame.report import Report
from worker.bench.frame.runs import Column, Runs, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Neighbours to find, and candidates for a search that compares exact vectors afterwards.
NUM_NEIGHBOURS = 10
NUM_CANDIDATES = 100


_COLUMNS = (
    Column("bytes per record", "value_bytes", drawn_as="bytes per record"),
    Column(f"recall@{NUM_NEIGHBOURS}", "recall", 4, drawn_as=f"recall@{NUM_NEIGHBOURS}"),
    Column(f"in the nearest {NUM_CANDIDATES}", "recall_of_candidates", 4),
    Column("cosine error", "mean_cosine_error", 5),
    Column("maximum", "max_cosine_error", 5),
)


def measure_loss(exact: NDArray[np.float32], decoded: NDArray[np.float32]) -> dict[str, float]:
    """Compare the cosines of `decoded` vectors with those of the `exact` ones, both `[n, H]`, with n > 1.

    `recall` is the mean share of the `NUM_NEIGHBOURS` exact nearest neighbours among as many nearest neighbours of the decoded
    vectors, `recall_of_candidates` among the `NUM_CANDIDATES` nearest; the errors are those of the cosine of two different vectors.
    """
    true, found = _cosines(exact), _cosines(decoded)
    errors = np.abs(true - found)[~np.eye(len(exact), dtype=bool)]
    wanted = _find_nearest(true, NUM_NEIGHBOURS)
    return {
        "recall": _share(wanted, _find_nearest(found, NUM_NEIGHBOURS)),
        "recall_of_candidates": _share(wanted, _find_nearest(found, NUM_CANDIDATES)),
        "mean_cosine_error": float(errors.mean()),
        "max_cosine_error": float(errors.max()),
    }


def build_report(losses: Runs, num_vectors: int) -> Report:
    """Return a table with a row for each encoding: mean size of a record's value in bytes, and `measure_loss`."""
    smallest = min(losses.names, key=lambda name: losses.median(name, "value_bytes"))
    size, recall = losses.median(smallest, "value_bytes"), losses.median(smallest, "recall")
    return Report(
        title="Encodings of vectors",
        claim=f"{smallest}: {size:.0f} bytes per record, recall@{NUM_NEIGHBOURS} {recall:.2f}",
        machine=describe_machine(),
        tables=[Table(title=f"{num_vectors} sentences, nearest neighbours by cosine", runs=losses, columns=_COLUMNS)],
        summary={name: losses.median(name, "recall") for name in losses.names},
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
