"""The background tasks of the console: failures of brokers and workers, and busy streams."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from prometheus_client import generate_latest

from tests.console.serving import serve
from worker.console import feeds
from worker.console.event_hub import EventHub, Subscription
from worker.console.feeds import Feeds
from worker.console.live_view import LiveView, PartitionOffsets
from worker.console.record_store import RecordStore
from worker.console.sources import GroupState
from worker.errors import BrokerUnavailable
from worker.observability.metrics import WorkerTelemetry
from worker.records import Partition, Record, Task
from worker.wire.decode import Limits
from worker.wire.mapping import InputMapping, build_decoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator


class Topics:
    """Topics that fail at their first reading, and then have records."""

    def __init__(self, num_records: int = 3) -> None:
        self.num_records = num_records
        self.num_followed = 0

    async def follow(self) -> AsyncGenerator[list[Record], None]:
        """Fail once; then yield all records at once."""
        self.num_followed += 1
        if self.num_followed == 1:
            raise BrokerUnavailable("no broker answers")
        yield [Record(Partition("texts", 0), offset, None, b'{"text": "hello"}') for offset in range(self.num_records)]
        await asyncio.Event().wait()

    async def fetch_group(self) -> GroupState:
        """Return a group of one worker."""
        return GroupState(("w1",), (PartitionOffsets("texts", 0, 1, 3, "w1"),))


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat each task at once."""
    for name in ("_LIVE_INTERVAL_S", "_GROUP_INTERVAL_S", "_FLOW_INTERVAL_S", "_RETRY_INTERVAL_S"):
        monkeypatch.setattr(feeds, name, 0.01)


@contextlib.asynccontextmanager
async def run(topics: Topics, workers: list[str]) -> AsyncIterator[Subscription]:
    """Run the tasks and yield a browser."""
    decode = build_decoder(InputMapping(), limits=Limits(), tasks=frozenset(Task))
    store, hub = RecordStore(outputs={}, decode=decode, result_field="nlp"), EventHub()
    tasks = asyncio.create_task(Feeds(topics=topics, workers=workers, store=store, live=LiveView(workers), hub=hub).run())
    with hub.subscribe() as browser:
        try:
            yield browser
        finally:
            tasks.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tasks


async def events(browser: Subscription) -> AsyncGenerator[tuple[str, Any], None]:
    """Yield name and value of each event."""
    while True:
        for event in (await browser.take()).decode().strip().split("\n\n"):
            name, _, value = event.partition("\n")
            yield name.removeprefix("event: "), orjson.loads(value.removeprefix("data: "))


async def test_topics_are_read_again_after_a_failure() -> None:
    """A broker that goes away and comes back is a mark, and its records arrive."""
    async with run(Topics(), []) as browser:
        rows: list[Any] = []
        marks: list[str] = []
        async for name, value in events(browser):
            rows += value["rows"] if name == "records" else []
            marks = [mark["text"] for mark in value["marks"]] if name == "live" else marks
            if len(rows) == 3 and marks:
                break
    assert [row["text"] for row in rows] == ["hello"] * 3
    assert marks[0] == "brokers: no broker answers"


async def test_a_group_that_is_not_answered_is_a_failure_of_the_brokers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page names a broker that has gone away long before the client does."""
    monkeypatch.setattr(feeds, "_GROUP_TIMEOUT_S", 0.01)
    topics = Topics()
    topics.num_followed = 1
    monkeypatch.setattr(topics, "fetch_group", asyncio.Event().wait)
    async with run(topics, []) as browser:
        async for name, value in events(browser):
            if name == "live" and value["broker_problem"]:
                assert value["broker_problem"] == "no answer within 0.01 s"
                break


async def test_a_busy_stream_is_shown_in_part() -> None:
    """An event has a bounded number of rows, the newest, and the number of the others."""
    async with run(Topics(num_records=5_000), []) as browser:
        num_rows, num_more = 0, 0
        async for name, value in events(browser):
            if name == "records":
                assert len(value["rows"]) <= 40
                num_rows, num_more = num_rows + len(value["rows"]), num_more + value["num_more"]
            if num_rows + num_more == 5_000:
                break
    assert num_more > 0


async def test_a_worker_that_does_not_answer_is_named() -> None:
    """Each worker has its values or the reason for none: a refused connection, and a page without metrics."""
    telemetry = WorkerTelemetry()
    telemetry.reads(["texts"])

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(telemetry.registry))

    application = web.Application()
    application.router.add_get("/good/metrics", metrics)
    async with serve(application) as url:
        workers = [f"{url}/good", f"{url}/missing", "http://127.0.0.1:9"]
        async with run(Topics(), workers) as browser:
            async for name, value in events(browser):
                if name == "live":
                    problems = [worker["problem"] for worker in value["workers"]]
                    break
    assert problems[0] is None
    assert "404" in problems[1]
    assert "127.0.0.1:9" in problems[2]
