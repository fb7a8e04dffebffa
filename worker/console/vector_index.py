"""The vectors of the newest results in memory, and the search for the nearest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Key = TypeVar("Key")
# A longer vector is of no model, and a row of that length for each record would exhaust the memory.
_MAX_DIMENSIONS = 16_384


class VectorIndex(Generic[Key]):
    """The last `max_vectors` vectors, each with the key of its record and the name of its model."""

    def __init__(self, max_vectors: int) -> None:
        """Make an empty index; the memory is taken with the first vector."""
        self._max_vectors = max_vectors
        # Unit vectors, float32, shape `[max_vectors, dimensions]`.
        self._rows: NDArray[np.float32] = np.empty((0, 0), np.float32)
        self._keys: list[tuple[Key, str]] = []
        self._next = 0

    def __len__(self) -> int:
        """Return the number of vectors."""
        return len(self._keys)

    @property
    def num_dimensions(self) -> int:
        """The dimensions of the vectors; 0 before the first vector."""
        return int(self._rows.shape[1])

    def add(self, key: Key, vector: NDArray[np.float32], model: str) -> None:
        """Add a vector. Vectors of another number of dimensions replace all earlier ones: the model has changed."""
        if vector.ndim != 1 or len(vector) > _MAX_DIMENSIONS:
            return
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0.0:
            return
        if len(vector) != self.num_dimensions:
            self._rows = np.zeros((self._max_vectors, len(vector)), np.float32)
            self._keys, self._next = [], 0
        self._rows[self._next] = vector / length
        if self._next < len(self._keys):
            self._keys[self._next] = key, model
        else:
            self._keys.append((key, model))
        self._next = (self._next + 1) % self._max_vectors

    def find(self, key: Key) -> tuple[NDArray[np.float32], str] | None:
        """Return the newest vector of a key and its model, or None."""
        places = [place for place, (own, _) in enumerate(self._keys) if own == key]
        return (self._rows[places[-1]].copy(), self._keys[places[-1]][1]) if places else None

    def nearest(self, vector: NDArray[np.float32], *, model: str, count: int) -> list[tuple[Key, float]]:
        """Return the keys with the largest cosine, each once, the nearest first. Only vectors of `model` count.

        A vector from a message of several encoders has the names of all of them. `model` may be one of these. Raises
        `ValueError` for a vector with other dimensions than those of the index.
        """
        if not any(_is_made_by(model, own_model) for _, own_model in self._keys):
            return []
        if len(vector) != self.num_dimensions:
            raise ValueError(f"the query has {len(vector)} dimensions, and the published vectors have {self.num_dimensions}")
        cosines = self._rows[: len(self._keys)] @ (vector / max(float(np.linalg.norm(vector)), 1e-12))
        found: dict[Key, float] = {}
        for place in np.argsort(-cosines, kind="stable"):
            key, own_model = self._keys[place]
            if _is_made_by(model, own_model):
                # A long text has several vectors: its best one counts.
                found.setdefault(key, float(cosines[place]))
            if len(found) == count:
                break
        return list(found.items())


def _is_made_by(model: str, names: str) -> bool:
    """Return whether a model is that of a vector, or one of the encoders of its message."""
    return model == names or model in names.split(",")
