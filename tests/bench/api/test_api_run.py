"""The benchmark of the HTTP endpoint: its clients, the server of the baseline, and a small run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from tests.bench.stream.test_stream_run import build_context
from worker.bench.api.baseline import QueryBaseline
from worker.bench.api.report import build_report
from worker.bench.api.run import ApiPlan, build_request, read_length, run
from worker.bench.stream.baseline import SentenceTransformersBaseline
from worker.errors import BadModel

if TYPE_CHECKING:
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


def test_an_error_of_a_server_ends_the_run() -> None:
    """The message has the status."""
    assert read_length(b"HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 12\r\n\r\n") == 12
    with pytest.raises(BadModel, match="429 too many requests"):
        read_length(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\n")


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
