"""The routes of clients of Text Embeddings Inference (TEI) and of `huggingface_hub`: `/embed` and `/predict`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.api import EmbedRequest, PredictRequest
from worker.api.bodies import MODEL_HEADER, TRACE, read_body, write_json
from worker.api.failures import Kind, RequestFailed
from worker.api.service import DEFAULT, cut_vector
from worker.records import Task
from worker.wire.content import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from worker.api.service import Result, Service
    from worker.records import Prediction

_FIELD = "inputs"


class TeiRoutes:
    """Answers as TEI does."""

    def __init__(self, service: Service) -> None:
        """Compute with `service`."""
        self._service = service

    async def embed(self, request: web.BaseRequest) -> web.Response:
        """Return the vectors of texts, as a list of lists also for a single text."""
        body = await read_body(request, EmbedRequest)
        if not body.normalize:
            raise RequestFailed(
                Kind.INVALID, "`normalize: false` is not served: the vectors are those of the stream", field="normalize"
            )
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
        model = self._service.find_model(DEFAULT)
        results = await self._service.compute_task(texts, Task.EMBED, model, body.prompt_name, field=_FIELD, headers=TRACE.get())
        _check_whole(results, may_truncate=body.truncate is not False)
        vectors = [cut_vector(result, body.dimensions) for result in results]
        return write_json(vectors, headers={MODEL_HEADER: results[0][0].tokens.model})

    async def predict(self, request: web.BaseRequest) -> web.Response:
        """Return the labels of a text, or a list of labels for each text of a batch."""
        body = await read_body(request, PredictRequest)
        if body.raw_scores:
            raise RequestFailed(Kind.INVALID, "`raw_scores: true` is not served: the scores are probabilities", field="raw_scores")
        model = self._service.find_model(DEFAULT)
        results = await self._service.compute_task(
            _list_texts(body.inputs), Task.CLASSIFY, model, field=_FIELD, headers=TRACE.get()
        )
        _check_whole(results, may_truncate=body.truncate is not False)
        labels = [_list_labels(prediction, body.head) for _, prediction in results]
        # `huggingface_hub` reads a list in a list, and sends `parameters`. TEI answers a single text with one list.
        is_single = isinstance(body.inputs, str) and body.parameters is None
        return write_json(labels[0] if is_single else labels, headers={MODEL_HEADER: results[0][0].tokens.model})


def _list_texts(inputs: str | list[str] | list[list[str]]) -> list[str]:
    """Return the texts of a request of `/predict`. Raises `RequestFailed` for pairs of texts, which the heads do not read."""
    if isinstance(inputs, str):
        return [inputs]
    texts = [entry[0] for entry in inputs if not isinstance(entry, str) and len(entry) == 1]
    if len(texts) != len(inputs):
        raise RequestFailed(
            Kind.INVALID, "pairs of texts are not served: a batch of texts is a list of lists with one text each", field=_FIELD
        )
    return texts


def _list_labels(prediction: Prediction, name: str | None) -> list[dict[str, Any]]:
    """Return the labels of one head, the most probable label first."""
    heads = prediction.labels or {}
    if not heads or (name is not None and name not in heads):
        served = ", ".join(sorted(heads)) or "none"
        raise RequestFailed(
            Kind.INVALID, f"there is no head {shorten(name or '')} for labels; the model has {served}", field="head"
        )
    scores = heads[name or next(iter(heads))].scores
    return [{"label": label, "score": score} for label, score in sorted(scores.items(), key=lambda pair: -pair[1])]


def _check_whole(results: Sequence[Result], *, may_truncate: bool) -> None:
    """Raise `RequestFailed` if a text was truncated and the client does not allow that."""
    for index, (tokenized, _) in enumerate(results):
        if tokenized.tokens.truncated and not may_truncate:
            raise RequestFailed(
                Kind.INVALID, f"`{_FIELD}[{index}]` is longer than the model reads, and `truncate` is false", field=_FIELD
            )
