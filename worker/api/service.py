"""What all routes share: the model of a request, the checks of its texts, and their results."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from worker.api.failures import Kind, RequestFailed
from worker.api.queries import Unavailable
from worker.errors import InvalidRecord
from worker.records import Item, Task
from worker.wire.content import shorten
from worker.wire.decode import check_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from worker.api.queries import Queries
    from worker.flow.outcomes import OutcomeBuilder
    from worker.ports import ServedModel
    from worker.records import Headers, Outcome, Prediction, TokenizedItem
    from worker.wire.decode import Limits

    Result = tuple[TokenizedItem, Prediction]

#: The name that selects the model of the newest records.
DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Computes the texts of requests in the lanes of a worker."""

    #: Returns the queries of the running pipeline; None while there is no pipeline.
    find_queries: Callable[[], Queries | None]
    #: Decodes records and encodes results as the stream does.
    outcomes: OutcomeBuilder
    #: The tasks of the worker.
    tasks: frozenset[Task]
    limits: Limits
    #: The maximum number of texts of a request.
    max_texts: int

    @property
    def queries(self) -> Queries:
        """The queries of the running pipeline. Raises `Unavailable` while there is none."""
        queries = self.find_queries()
        if queries is None:
            raise Unavailable("the model is not loaded yet")
        return queries

    def find_model(self, name: str) -> ServedModel:
        """Return the loaded model of a name with or without revision. Raises `RequestFailed`."""
        models = self.queries.list_models()
        if name in {DEFAULT, ""}:
            return models[0]
        for model in models:
            encoders = model.name.split(",")
            if name in {model.name, *encoders, *(encoder.partition("@")[0] for encoder in encoders)}:
                return model
        names = ", ".join(model.name for model in models)
        raise RequestFailed(
            Kind.UNKNOWN_MODEL, f"there is no model {shorten(name)}; `{DEFAULT}` or one of these is served: {names}", field="model"
        )

    def check_task(self, task: Task) -> None:
        """Raise `RequestFailed` if the worker does not serve a task."""
        if task not in self.tasks:
            served = ", ".join(sorted(self.tasks))
            raise RequestFailed(Kind.INVALID, f"the task {task} is not served here; this worker serves {served}")

    def check_number(self, num_texts: int, field: str) -> None:
        """Raise `RequestFailed` for a request without texts or with too many texts."""
        if not num_texts:
            raise RequestFailed(Kind.EMPTY, f"`{field}` is empty", field=field)
        if num_texts > self.max_texts:
            raise RequestFailed(
                Kind.INVALID,
                f"`{field}` has {num_texts} texts; at most {self.max_texts} are accepted (GIST_API_MAX_TEXTS)",
                field=field,
            )

    def build_items(self, texts: Sequence[str], tasks: frozenset[Task], *, field: str, headers: Headers) -> list[Item]:
        """Return an item for each text, whose id is the index of the text. Raises `RequestFailed` for an invalid text."""
        self.check_number(len(texts), field)
        items = []
        for index, text in enumerate(texts):
            try:
                check_text(text, self.limits)
                value = orjson.dumps({"id": str(index), "text": text})
            except (InvalidRecord, orjson.JSONEncodeError) as error:
                raise RequestFailed(Kind.INVALID, f"`{field}[{index}]`: {error}", field=field) from None
            items.append(Item(self.queries.create_record(value, headers), str(index), text, tasks))
        return items

    async def compute(self, items: Sequence[Item], model: ServedModel, prompt: str | None) -> list[Result]:
        """Return the tokens and the prediction of each item. Raises `RequestFailed` if the model does not have the prompt."""
        try:
            return await self.queries.compute(items, model, prompt)
        except InvalidRecord as error:
            raise RequestFailed(Kind.INVALID, str(error), field="prompt") from None

    async def compute_task(
        self, texts: Sequence[str], task: Task, model: ServedModel, prompt: str | None = None, *, field: str, headers: Headers
    ) -> list[Result]:
        """Return the result of one task for each text. Raises `RequestFailed` also if the task fails for one of them."""
        self.check_task(task)
        results = await self.compute(self.build_items(texts, frozenset({task}), field=field, headers=headers), model, prompt)
        for index, (_, prediction) in enumerate(results):
            if prediction.failures:
                failure = prediction.failures[0]
                raise RequestFailed(Kind.MODEL_FAILED, f"`{field}[{index}]`: {failure.error}: {failure.message}", field=field)
        return results

    async def encode(self, results: Sequence[Result]) -> list[Outcome]:
        """Return the messages of each result, as the output topics would hold them."""
        build = self.outcomes.from_prediction
        return await asyncio.to_thread(lambda: [build(tokenized, prediction) for tokenized, prediction in results])


def cut_vector(result: Result, dimensions: int | None) -> NDArray[np.float32]:
    """Return the vector of a result, or its first dimensions, normalised again. Raises `RequestFailed` if the vector is shorter."""
    vector: Any = result[1].embedding
    if dimensions is None:
        return np.ascontiguousarray(vector, dtype=np.float32)
    if dimensions > len(vector):
        raise RequestFailed(Kind.INVALID, f"`dimensions` is {dimensions}, and a vector has {len(vector)}", field="dimensions")
    kept = np.asarray(vector[:dimensions], dtype=np.float32)
    length = float(np.linalg.norm(kept))
    return np.asarray(kept / (length or 1.0), dtype=np.float32)
