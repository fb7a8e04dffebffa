"""The process of `gist-stream serve` for `bench api`, which also runs its model without the endpoint."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from worker.bench.frame.server_thread import start_in_thread
from worker.commands.run.run import Health, load_model
from worker.composition import api as apis
from worker.composition.model import ModelLoader, select_tasks
from worker.flow.monitor import Monitor
from worker.host import freeze_gc, keep_malloc_arenas
from worker.observability.metrics import WorkerTelemetry
from worker.records import Item, Task, TokenizedItem
from worker.rollout.router import SingleModel
from worker.settings import read

if TYPE_CHECKING:
    from collections.abc import Mapping

_ANSWERED_S = "gist_api_request_duration_seconds_sum"


class QueryEndpoint:
    """A candidate of the benchmark; its questions come while the endpoint is idle."""

    def __init__(self, **settings: Any) -> None:
        """Read the settings, and prepare the process as `gist-stream serve` does."""
        keep_malloc_arenas()
        self._settings, self._telemetry = read(settings), WorkerTelemetry()

    def about(self) -> Mapping[str, Any]:
        """Load the model and listen; return the port."""
        return {"port": start_in_thread(self._listen())}

    def compute(self, text: str) -> Mapping[str, float]:
        """Tokenize and run a text; return the milliseconds, and those of all answers of `/v1/embeddings` so far."""
        item = Item(self._queries.create_record(b"{}"), "0", text, frozenset({Task.EMBED}))
        began_s = time.perf_counter()
        (tokens,) = self._model.tokenize([text])
        self._model.infer([TokenizedItem(item, tokens)])
        seconds = time.perf_counter() - began_s
        answered_s = self._telemetry.registry.get_sample_value(_ANSWERED_S, {"route": "/v1/embeddings"})
        return {"ms": seconds * 1000, "answered_ms": (answered_s or 0.0) * 1000}

    async def _listen(self) -> int:
        settings, telemetry = self._settings, self._telemetry
        loading = asyncio.to_thread(ModelLoader(settings).load, settings.model)
        self._model = (await load_model(loading, Health(), telemetry)).model
        tasks = select_tasks(settings, self._model)
        self._queries = queries = apis.build_queries(settings, tasks, SingleModel(self._model), telemetry)
        access = apis.build_api_options(settings, telemetry.api_warning, is_shared=False)
        server = apis.build_api(settings, access, tasks, lambda: queries, telemetry, None)
        self._batches = asyncio.create_task(queries.serve(Monitor(telemetry)))
        freeze_gc()
        return (await server.__aenter__()).port
