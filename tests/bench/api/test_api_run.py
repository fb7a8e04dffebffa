"""The benchmark of the HTTP endpoint: its clients, the server of the baseline, and a small run."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from tests.api.endpoint import until
from tests.bench.stream.test_stream_run import build_context
from worker.bench.api.baseline import QueryBaseline
from worker.bench.api.clients import build_request, read_length, send_in_turn, send_regularly
from worker.bench.api.report import build_report
from worker.bench.api.run import ApiPlan, run
from worker.bench.stream.baseline import SentenceTransformersBaseline
from worker.errors import BadModel
from worker.testbed.embedded_kafka import find_free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class CountingBaseline(QueryBaseline):
    """A baseline whose vectors are the lengths of the texts."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def encode(self, texts: list[str]) -> Any:
        """Note the size of the batch."""
        self.sizes.append(len(texts))
        return np.array([[len(text)] for text in texts], dtype=np.float32)


async def test_the_baseline_answers_each_client_from_padded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each client gets the vector of its own text, and no batch has more than 32 texts."""
    monkeypatch.setattr(SentenceTransformersBaseline, "about", lambda _self: {"dtype": "fp32"})
    baseline = CountingBaseline()
    about = await asyncio.to_thread(baseline.about)

    async def send(text: str) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", about["port"])
        writer.write(build_request(text))
        body = await reader.readexactly(read_length(await reader.readuntil(b"\r\n\r\n")))
        writer.close()
        return orjson.loads(body)

    answers = await asyncio.gather(*(send("a" * length) for length in range(1, 41)))
    assert answers == [[[float(length)]] for length in range(1, 41)]
    assert (sum(baseline.sizes), max(baseline.sizes) <= 32, about["dtype"]) == (40, True, "fp32")


def test_the_length_of_an_answer_is_that_of_its_body() -> None:
    assert read_length(b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 12") == 12


@asynccontextmanager
async def listening(*parts: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answer each request with the same parts, one write each; yield the port and the requests."""
    requests = list[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b"":
            requests.append(await reader.readexactly(int(head.rpartition(b": ")[2])))
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0)

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], requests


async def test_clients_count_whole_answers() -> None:
    """The head and the body of an answer arrive in three parts."""
    async with listening(b"HTTP/1.1 200 OK\r\nContent-", b"Length: 4\r\n\r\n[[", b"]]") as (port, requests):
        figures = await send_in_turn(port, ["a", "b"], num_clients=2, seconds=0.05)
    assert figures["queries_per_s"] * 0.05 == pytest.approx(len(requests))
    assert figures["p99_ms"] >= figures["p50_ms"] > 0


async def test_an_error_of_a_server_ends_the_run() -> None:
    """The message has the status."""
    async with listening(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n") as (port, requests):
        with pytest.raises(BadModel, match="429 too many requests"):
            await send_in_turn(port, ["a"], num_clients=2, seconds=60.0)
        with pytest.raises(BadModel, match="429 too many requests"):
            async with send_regularly(port, ["a"], rate_per_s=1_000):
                await until(lambda: len(requests) > 2)


async def test_regular_queries_do_not_wait_for_answers() -> None:
    """The server never answers, and gets each query over a connection of its own."""
    async with listening() as (port, requests), send_regularly(port, ["a", "b"], rate_per_s=1_000):
        await until(lambda: len(requests) > 2)
    assert [orjson.loads(request)["inputs"] for request in requests[:3]] == ["a", "b", "a"]


async def test_a_server_that_is_away_ends_the_run() -> None:
    """A row of a stream with queries would otherwise be measured without queries."""
    with pytest.raises(ConnectionRefusedError):
        async with send_regularly(find_free_port(), ["a"], rate_per_s=1_000):
            await until(lambda: len(asyncio.all_tasks()) == 1)


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.model
@pytest.mark.timeout(400)
async def test_a_small_run_measures_everything_and_loses_nothing(kafka: str, tmp_path: Path) -> None:
    """Every figure is there, and no record is lost."""
    plan = ApiPlan(
        endpoint="worker.commands.bench.query_endpoint:QueryEndpoint",
        num_partitions=2,
        num_backlog=400,
        num_rounds=1,
        num_lone=5,
        clients_s=1.0,
        phase_s=2.0,
    )
    report = build_report(await run(plan, build_context(kafka, tmp_path)))
    assert report.is_good
    assert all(value > 0 for value in report.summary["ratio"].values())
    assert [len(table.runs.names) for table in report.tables] == [3, 2, 2]
