"""The baseline of the HTTP endpoint: aiohttp, a queue, and padded batches of SentenceTransformers."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from worker.bench.frame.server_thread import start_in_thread
from worker.bench.stream.baseline import SentenceTransformersBaseline

_MAX_BATCH = 32
# The wait for a batch to fill: the default of GIST_MAX_BATCH_DELAY_MS.
_BATCH_DELAY_S = 0.002


class QueryBaseline(SentenceTransformersBaseline):
    """Answers `POST /embed`: requests that arrive while a batch runs share the next one."""

    num_trial_texts = _MAX_BATCH

    def about(self) -> dict[str, Any]:
        """Choose the faster format and listen; return its name and the port."""
        return super().about() | {"port": start_in_thread(self._listen())}

    async def _listen(self) -> int:
        self._queue: asyncio.Queue[tuple[str, asyncio.Future[Any]]] = asyncio.Queue()
        application = web.Application()
        application.router.add_post("/embed", self._embed)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._batches = asyncio.create_task(self._run_batches())
        return int(runner.addresses[0][1])

    async def _embed(self, request: web.Request) -> web.Response:
        answer = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((orjson.loads(await request.read())["inputs"], answer))
        body = orjson.dumps([await answer], option=orjson.OPT_SERIALIZE_NUMPY)
        return web.Response(body=body, content_type="application/json")

    async def _run_batches(self) -> None:
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(_BATCH_DELAY_S)
            while len(batch) < _MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            vectors = await asyncio.to_thread(self.encode, [text for text, _ in batch])
            for (_, answer), vector in zip(batch, vectors, strict=True):
                if not answer.done():
                    answer.set_result(vector)
