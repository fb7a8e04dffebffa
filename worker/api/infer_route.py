"""The route of the worker's own values: `/v1/infer` returns what the output topics would hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from schemas.api import InferRequest
from worker.api.bodies import MODEL_HEADER, TRACE, read_body, write_json
from worker.api.failures import Kind, RequestFailed
from worker.errors import InvalidRecord
from worker.records import Item, Outcome, Output
from worker.wire.decode import select_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web

    from worker.api.service import Service
    from worker.records import Failure, Headers, TokenizedItem


class InferRoute:
    """Answers with the values of the output topics."""

    def __init__(self, service: Service) -> None:
        """Compute with `service`."""
        self._service = service

    async def infer(self, request: web.BaseRequest) -> web.Response:
        """Return the values of each text or record."""
        body = await read_body(request, InferRequest)
        model = self._service.find_model(body.model)
        decoded = self._decode(body, TRACE.get())
        items = [item for item in decoded if isinstance(item, Item)]
        results = await self._service.compute(items, model, body.prompt) if items else []
        outcomes = await self._service.encode(results)
        computed = {id(tokenized.item): (tokenized, outcome) for (tokenized, _), outcome in zip(results, outcomes, strict=True)}
        answers = [_build_result(*computed[id(one)]) if isinstance(one, Item) else _build_result(None, one) for one in decoded]
        name = _name_encoders(model.name, [tokenized for tokenized, _ in results])
        return write_json({"model": name, "results": answers}, headers={MODEL_HEADER: name})

    def _decode(self, body: InferRequest, headers: Headers) -> Sequence[Item | Outcome]:
        """Return an item for each text or record, or the outcome of a record that needs no model."""
        if (body.texts is None) == (body.records is None):
            raise RequestFailed(Kind.INVALID, "the body needs either `texts` or `records`", field="texts")
        if body.texts is not None:
            try:
                tasks = select_tasks(body.tasks, {}, self._service.tasks)
            except InvalidRecord as error:
                raise RequestFailed(Kind.INVALID, str(error), field="tasks") from None
            return self._service.build_items(body.texts, tasks, field="texts", headers=headers)
        records = body.records or []
        self._service.check_number(len(records), "records")
        chosen: Headers = (("tasks", ",".join(body.tasks).encode()),) if body.tasks else ()
        return [self._decode_record(record, headers + chosen, index) for index, record in enumerate(records)]

    def _decode_record(self, record: Mapping[str, Any], headers: Headers, index: int) -> Item | Outcome:
        try:
            value = orjson.dumps(record)
        except orjson.JSONEncodeError as error:
            raise RequestFailed(Kind.INVALID, f"`records[{index}]`: {error}", field="records") from None
        return self._service.outcomes.decode(self._service.queries.create_record(value, headers))


def _name_encoders(name: str, computed: Sequence[TokenizedItem]) -> str:
    """Return the names of the encoders that computed texts, in the order of a model's name; that name if there are no texts."""
    used = {encoder for tokenized in computed for encoder in tokenized.tokens.model.split(",")}
    return ",".join(encoder for encoder in name.split(",") if encoder in used) or name


def _build_result(tokenized: TokenizedItem | None, outcome: Outcome) -> dict[str, Any]:
    """Return the fields of a result. The values of messages are copied byte for byte."""
    result: dict[str, Any] = {}
    for message in outcome.messages:
        if message.output is not Output.DEAD_LETTERS and message.value is not None:
            result.setdefault(message.output.value, []).append(orjson.Fragment(message.value))
    # Only a text in chunks has several values in a topic.
    is_chunked = outcome.num_chunks is not None
    result = {name: values if is_chunked and name == Output.EMBEDDINGS else values[0] for name, values in result.items()}
    if outcome.failures:
        result["failures"] = [_describe(failure) for failure in outcome.failures]
    if outcome.skip_reason:
        result["skipped"] = outcome.skip_reason
    if tokenized is not None:
        result |= {"tokens": len(tokenized.tokens), "truncated": tokenized.tokens.truncated}
    return result


def _describe(failure: Failure) -> dict[str, Any]:
    return {"stage": failure.stage, "error": failure.error, "message": failure.message, "task": failure.task}
