"""The routes of OpenAI's clients: `/v1/embeddings` and `/v1/models`."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from schemas.api import EmbeddingsRequest
from worker.api.bodies import MODEL_HEADER, TRACE, read_body, write_json
from worker.api.service import cut_vector
from worker.records import Task
from worker.rollout.joint_model import list_encoder_tasks

if TYPE_CHECKING:
    import numpy as np
    from aiohttp import web
    from numpy.typing import NDArray

    from worker.api.service import Service


class OpenAiRoutes:
    """Answers as OpenAI does."""

    def __init__(self, service: Service) -> None:
        """Compute with `service`."""
        self._service = service
        self._created_s = int(time.time())

    async def embed(self, request: web.BaseRequest) -> web.Response:
        """Return the vectors of texts."""
        body = await read_body(request, EmbeddingsRequest)
        texts = [body.input] if isinstance(body.input, str) else body.input
        model = self._service.find_model(body.model)
        results = await self._service.compute_task(texts, Task.EMBED, model, body.prompt, field="input", headers=TRACE.get())
        is_float = body.encoding_format != "base64"
        vectors = [cut_vector(result, body.dimensions) for result in results]
        num_tokens = sum(len(tokenized.tokens) for tokenized, _ in results)
        data = [
            {"object": "embedding", "index": index, "embedding": vector if is_float else _encode(vector)}
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": num_tokens, "total_tokens": num_tokens}
        name = results[0][0].tokens.model
        return write_json({"object": "list", "data": data, "model": name, "usage": usage}, headers={MODEL_HEADER: name})

    async def list_models(self, _request: web.BaseRequest) -> web.Response:
        """Return the loaded models, those of the newest records first. Two steps of a rollout may share a model."""
        models = dict[str, dict[str, Any]]()
        for index, served in enumerate(self._service.queries.list_models()):
            for model, tasks in list_encoder_tasks(served):
                entry = {
                    "id": model.name,
                    "object": "model",
                    "created": self._created_s,
                    "owned_by": "gist-stream",
                    "tasks": sorted(self._service.tasks & tasks),
                    "max_tokens": model.max_tokens,
                    "is_default": index == 0,
                    "group": served.name,
                }
                models.setdefault(model.name, entry)
        return write_json({"object": "list", "data": list(models.values())})


def _encode(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
