"""Results of a typed text, and the published records nearest to a text or to a record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from worker.console.inference import InferenceEndpoint, Inferred
    from worker.console.record_store import Place, RecordStore

_NUM_SIMILAR, _NUM_FOUND = 8, 20
_NO_ENDPOINT = "no endpoint is known: start the console with --api"


class TextSearch:
    """Asks the endpoint for vectors, and searches the vectors of the published records."""

    def __init__(self, store: RecordStore, endpoint: InferenceEndpoint | None) -> None:
        """Search the records of `store`; texts need the endpoint."""
        self._store = store
        self._endpoint = endpoint

    async def try_text(self, text: str) -> dict[str, Any]:
        """Return the results of a text with the most similar records, as JSON."""
        start_s = time.monotonic()
        inferred = await self._infer(text, prompt=None)
        took_ms = (time.monotonic() - start_s) * 1000
        vector = inferred.results.vector
        return {
            "model": inferred.model,
            "labels": inferred.results.labels,
            "values": inferred.results.values,
            "entities": inferred.results.entities,
            "num_tokens": inferred.num_tokens,
            "vector": None if vector is None else [round(float(number), 4) for number in vector],
            "similar": [] if vector is None else self._find(vector, count=_NUM_SIMILAR),
            "took_ms": took_ms,
        }

    async def search_text(self, text: str) -> dict[str, Any]:
        """Return the records nearest to a query, as JSON."""
        inferred = await self._infer(text, prompt="query")
        if inferred.results.vector is None:
            raise web.HTTPBadRequest(reason="the endpoint serves no embeddings")
        return self._describe(self._find(inferred.results.vector, count=_NUM_FOUND))

    def find_similar(self, place: Place) -> dict[str, Any]:
        """Return the records nearest to a record of the same model, as JSON."""
        found = self._store.index.find(place)
        if found is None:
            raise web.HTTPNotFound(reason="the vector of this record is no longer in memory")
        vector, model = found
        return self._describe(self._find(vector, count=_NUM_FOUND, model=model, without=place))

    async def _infer(self, text: str, *, prompt: str | None) -> Inferred:
        if self._endpoint is None:
            raise web.HTTPConflict(reason=_NO_ENDPOINT)
        return await self._endpoint.infer(text, prompt=prompt)

    def _describe(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        return {"found": found, "num_vectors": len(self._store.index)}

    def _find(
        self, vector: NDArray[np.float32], *, count: int, model: str | None = None, without: Place | None = None
    ) -> list[dict[str, Any]]:
        try:
            nearest = self._store.index.nearest(vector, model=model, count=count + 1)
        except ValueError as error:
            raise web.HTTPConflict(reason=str(error)) from None
        rows = [(self._store.build_row(place), cosine) for place, cosine in nearest if place != without]
        # A vector may be in memory a little longer than its record.
        return [{"record": row, "cosine": round(cosine, 4)} for row, cosine in rows if row is not None][:count]
