"""Results of a typed text, and the published records nearest to a text or to a record."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from worker.records import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from worker.console.inference import InferenceEndpoint
    from worker.console.record_store import Place, RecordStore

_NUM_SIMILAR, _NUM_FOUND, _MAX_MODELS = 8, 20, 2
# The nearest vectors whose texts are compared.
_MAX_CANDIDATES = 5_000
_NO_ENDPOINT = "no endpoint is known: start the console with --api"


class TextSearch:
    """Asks the endpoint for vectors, and searches the vectors of the published records."""

    def __init__(
        self, store: RecordStore, endpoint: InferenceEndpoint | None, read_tokens: Callable[[str], list[str]] | None
    ) -> None:
        """Search the records of `store`; texts need the endpoint. `read_tokens` splits a text into tokens."""
        self._store = store
        self._endpoint = endpoint
        self._read_tokens = read_tokens

    async def try_text(self, text: str) -> dict[str, Any]:
        """Return the results of a text from each loaded model, at most two, as JSON."""
        models = (await self._get_endpoint().list_models())[:_MAX_MODELS]
        return {"answers": [await self._try_with(text, model) for model in models]}

    async def _try_with(self, text: str, model: str) -> dict[str, Any]:
        """Return the results of a text from one model, with the most similar records of this model."""
        start_s = time.monotonic()
        inferred = await self._get_endpoint().infer(text, model=model)
        took_ms = (time.monotonic() - start_s) * 1000
        vector = inferred.results.vector
        encoder = inferred.model if vector is None else await self._name_encoder(text, inferred.model)
        return {
            "model": inferred.model,
            "labels": inferred.results.labels,
            "values": inferred.results.values,
            "entities": inferred.results.entities,
            "num_tokens": inferred.num_tokens,
            "tokens": self._split(text, inferred.num_tokens),
            "vector": None if vector is None else [round(float(number), 4) for number in vector],
            "similar": [] if vector is None else self._find(vector, count=_NUM_SIMILAR, model=encoder),
            "took_ms": took_ms,
        }

    async def search_text(self, text: str) -> dict[str, Any]:
        """Return the records nearest to a query, as JSON."""
        inferred = await self._get_endpoint().infer(text, prompt="query")
        if inferred.results.vector is None:
            raise web.HTTPBadRequest(reason="the endpoint serves no embeddings")
        encoder = await self._name_encoder(text, inferred.model)
        return self._describe(self._find(inferred.results.vector, count=_NUM_FOUND, model=encoder))

    def find_similar(self, place: Place) -> dict[str, Any]:
        """Return the records nearest to a record of the same model, as JSON."""
        found = self._store.index.find(place)
        if found is None:
            raise web.HTTPNotFound(reason="the vector of this record is no longer in memory")
        vector, model = found
        return self._describe(self._find(vector, count=_NUM_FOUND, model=model, without=place))

    async def _name_encoder(self, text: str, model: str) -> str:
        """Return the encoder that embeds: one of several encoders of a model, whose names have commas between them."""
        if "," not in model:
            return model
        return (await self._get_endpoint().infer(text, model=model, tasks=[Task.EMBED])).model

    def _split(self, text: str, num_tokens: int) -> list[str] | None:
        """Return the tokens of a text; None if the endpoint counts others: its model has another tokenizer, a prompt or a limit."""
        tokens = self._read_tokens(text) if self._read_tokens else []
        return tokens if len(tokens) == num_tokens else None

    def _get_endpoint(self) -> InferenceEndpoint:
        if self._endpoint is None:
            raise web.HTTPConflict(reason=_NO_ENDPOINT)
        return self._endpoint

    def _describe(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        return {"found": found, "num_vectors": len(self._store.index)}

    def _find(self, vector: NDArray[np.float32], *, count: int, model: str, without: Place | None = None) -> list[dict[str, Any]]:
        """Return the nearest records. Equal texts are one entry with their number."""
        try:
            nearest = self._store.index.nearest(vector, model=model, count=_MAX_CANDIDATES)
        except ValueError as error:
            raise web.HTTPConflict(reason=str(error)) from None
        found: dict[Any, dict[str, Any]] = {}
        for place, cosine in nearest:
            row = self._store.build_row(place)
            # A vector may be in memory longer than its record.
            if row is None or place == without:
                continue
            entry = found.setdefault(row["text"] or place, {"record": row, "cosine": round(cosine, 4), "num_equal": 0})
            entry["num_equal"] += 1
            if len(found) > count:
                break
        return list(found.values())[:count]
