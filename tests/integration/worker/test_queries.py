"""A worker with the HTTP endpoint answers with the vectors of its output topic."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from tests.integration.support.ports import free_port
from tests.integration.support.workers import Watcher, WorkerProcess, create, produce
from worker.records import Output
from worker.wire.encode import decode_embedding

if TYPE_CHECKING:
    from worker.broker.connection.connection import Connection

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

TEXTS = ["Ada Lovelace loved London.", "The soup was cold.", "When does the train to Berlin leave?"]


async def test_answers_have_the_bytes_and_the_vectors_of_the_topic(connection: Connection, topic: str) -> None:
    """A text alone in its batch has the vector of the topic bit for bit, and with others a vector within 1e-3."""
    await create(connection, topic, num_partitions=1)
    port, vectors = free_port(), list[NDArray[np.float32]]()
    async with (
        Watcher(connection, topic, num_expected=len(TEXTS)) as watcher,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
    ):
        with WorkerProcess(connection.bootstrap_servers, topic, api=True, api_port=port) as worker:
            await worker.ready()
            for number, text in enumerate(TEXTS):
                await produce(connection, topic, [text], num_partitions=1, first=number)
                await watcher.until(lambda: len(watcher.records) == 3 * (number + 1))  # noqa: B023  awaited in this round
                published = {output: record.value or b"" for output, record in watcher.records[-3:]}
                response = await client.post("/v1/infer", json={"records": [{"id": f"id-{number}", "text": text}]})
                answer = await response.read()
                assert all(value in answer for value in published.values())
                vectors.append(decode_embedding(orjson.loads(published[Output.EMBEDDINGS])))
                assert np.array_equal((await _embed(client, [text]))[0], vectors[-1])
            np.testing.assert_allclose(await _embed(client, TEXTS), vectors, atol=1e-3)
            assert worker.metric("gist_api_requests_total") == 2 * len(TEXTS) + 1
            assert await worker.end(signal.SIGTERM) == 0
    assert watcher.account.num_duplicates == 0


async def _embed(client: aiohttp.ClientSession, texts: list[str]) -> NDArray[np.float32]:
    response = await client.post("/v1/embeddings", json={"input": texts})
    return np.asarray([item["embedding"] for item in (await response.json())["data"]], np.float32)
