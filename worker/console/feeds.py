"""The background tasks of the console: they read topics, metrics pages and the group, and publish events to the browsers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

import aiohttp

from worker.console.metrics_page import MetricsPage
from worker.errors import FatalError, describe_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from worker.console.event_hub import EventHub
    from worker.console.live_view import LiveView
    from worker.console.record_store import Place, RecordStore
    from worker.console.sources import Topics
    from worker.records import Record

# Seconds between two events of each kind, and after a failure.
_LIVE_INTERVAL_S, _GROUP_INTERVAL_S, _FLOW_INTERVAL_S, _RETRY_INTERVAL_S = 2.0, 3.0, 0.25, 2.0
_PAGE_TIMEOUT_S = 3.0
# A client waits much longer for a broker that has gone away.
_GROUP_TIMEOUT_S = 10.0
_MAX_PAGE_BYTES = 4 << 20
# Rows of one event. A busier stream is shown in part.
_MAX_ROWS = 40
# Records of one fetch that are joined without a pause for other tasks.
_SLICE = 100


class Feeds:
    """Keeps the views current until it is cancelled."""

    def __init__(self, *, topics: Topics, workers: Iterable[str], store: RecordStore, live: LiveView, hub: EventHub) -> None:
        """Read `topics` and the metrics of `workers`, which are base addresses such as `http://127.0.0.1:8080`."""
        self._topics = topics
        self._workers = tuple(workers)
        self._store = store
        self._live = live
        self._hub = hub
        # Records that changed since the last event, in order.
        self._changed: dict[Place, None] = {}

    async def run(self) -> None:
        """Read and publish until cancelled. A source that fails is read again later."""
        timeout = aiohttp.ClientTimeout(total=_PAGE_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_topics())
            tasks.create_task(self._read_group())
            tasks.create_task(self._publish_live(session))
            tasks.create_task(self._publish_rows())

    async def _read_topics(self) -> None:
        while True:
            try:
                async with contextlib.aclosing(self._topics.follow()) as arriving:
                    async for records in arriving:
                        await self._join(records)
            except FatalError as error:
                self._live.observe_broker_failure(describe_error(error), time.time())
            await asyncio.sleep(_RETRY_INTERVAL_S)

    async def _join(self, records: list[Record]) -> None:
        for number, record in enumerate(records):
            if (place := self._store.add(record)) is not None:
                self._changed.pop(place, None)
                self._changed[place] = None
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)

    async def _read_group(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_GROUP_TIMEOUT_S):
                    group = await self._topics.fetch_group()
            except TimeoutError:
                self._live.observe_broker_failure(f"no answer within {_GROUP_TIMEOUT_S:g} s", time.time())
            except FatalError as error:
                self._live.observe_broker_failure(describe_error(error), time.time())
            else:
                self._live.observe_group(group.members, group.offsets, time.time())
            await asyncio.sleep(_GROUP_INTERVAL_S)

    async def _publish_live(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.gather(*(self._read_worker(session, address) for address in self._workers))
            self._hub.publish("live", self._live.take_sample(time.time()))
            await asyncio.sleep(_LIVE_INTERVAL_S)

    async def _read_worker(self, session: aiohttp.ClientSession, address: str) -> None:
        try:
            async with session.get(f"{address}/metrics", allow_redirects=False) as answer:
                answer.raise_for_status()
                page = await answer.content.read(_MAX_PAGE_BYTES)
                while len(page) < _MAX_PAGE_BYTES and (more := await answer.content.read(_MAX_PAGE_BYTES)):
                    page += more
            self._live.observe_worker(address, MetricsPage.parse(page.decode()), time.time())
        except TimeoutError:
            self._live.observe_failure(address, f"no answer within {_PAGE_TIMEOUT_S:g} s", time.time())
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._live.observe_failure(address, describe_error(error), time.time())

    async def _publish_rows(self) -> None:
        while True:
            await asyncio.sleep(_FLOW_INTERVAL_S)
            if not self._changed:
                continue
            places, self._changed = list(self._changed), {}
            rows = [row for place in places[-_MAX_ROWS:] if (row := self._store.build_row(place)) is not None]
            self._hub.publish("records", {"rows": rows, "num_more": max(0, len(places) - _MAX_ROWS)})
