"""A rollout, a worker that restarts and a broker that goes away, seen in the page of the console."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import pytest

from tests.integration.support.browser import CHROMIUM, open_page
from tests.integration.support.consoles import open_view, run_console
from tests.integration.support.ports import free_port
from tests.integration.support.workers import WorkerProcess, create, produce
from worker.broker.connection.connection import Connection
from worker.console import feeds
from worker.settings import read

if TYPE_CHECKING:
    from pathlib import Path

    from worker.testbed.embedded_kafka import EmbeddedKafka

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium-headless-shell"),
]
_PLAN = '[[step]]\nmodel = "b"\nfrom = { 0 = 100 }\n'


@pytest.mark.timeout(360)
async def test_what_comes_and_goes_is_a_mark_while_the_page_is_open(
    own_kafka: EmbeddedKafka, topic: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both models of a rollout answer side by side, and the page goes on after a crash of the worker and of the broker."""
    for name in ("_LIVE_INTERVAL_S", "_GROUP_INTERVAL_S", "_RETRY_INTERVAL_S"):
        monkeypatch.setattr(feeds, name, 0.3)
    monkeypatch.setattr(feeds, "_GROUP_TIMEOUT_S", 3.0)
    connection, plan, api = Connection(bootstrap_servers=own_kafka.bootstrap_servers), tmp_path / "rollout.toml", free_port()
    await create(connection, topic, num_partitions=1)
    worker = WorkerProcess(
        connection.bootstrap_servers,
        topic,
        program=("-m", "tests.integration.support.rolled_worker", "0"),
        model="a",
        # A static member of the classic protocol does not wait for the session of its predecessor.
        group_instance_id="here",
        group_protocol="classic",
        rollout_file=plan,
        api=True,
        api_port=api,
    )
    settings = read({"bootstrap_servers": connection.bootstrap_servers, "input_topic": topic, "group_id": f"group-{topic}"})
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(worker)
        await worker.ready()
        url = await stack.enter_async_context(run_console(settings, worker, f"http://127.0.0.1:{api}"))
        page = await stack.enter_async_context(open_page())
        await page.resize(1280, 800)
        await page.open_until_loaded(url)
        await page.until_text("live-view section:last-child tbody", "a@1")
        (tmp_path / "new").write_text(_PLAN)
        (tmp_path / "new").rename(plan)
        await page.until_text(".events", "model b@1 is loaded")
        await open_view(page, "try")
        await page.type("#try-text", "Ada Lovelace loved London.")
        await page.click("try-view button[type=submit]")
        await page.until("document.querySelectorAll('.pair > .stack').length === 2")
        shown = await page.read_text("try-view .pair")
        assert shown.index("a@1") < shown.index("b@1")
        left, right = await page.evaluate(
            "[...document.querySelectorAll('.pair > .stack')].map((own) => own.getBoundingClientRect().x)"
        )
        assert left < right
        await open_view(page, "live")
        await worker.end(signal.SIGKILL)
        await page.until_text(".events", "does not answer")
        worker.start()
        await page.until_text(".events", "answers again")
        # A worker that has not started yet ends if no broker answers.
        await worker.ready()
        await asyncio.to_thread(own_kafka.kill)
        await page.until("document.querySelector('live-view .notice.bad')")
        await asyncio.to_thread(own_kafka.start)
        await page.until_text(".events", "the brokers answer again")
        await page.until("!document.querySelector('live-view .notice.bad')")
        await open_view(page, "flow")
        await produce(connection, topic, ["Late news from Lisbon"], num_partitions=1)
        await page.until_text("flow-view .row .facts", "ms")
        assert "ate news from Lisbon" in await page.read_text("flow-view .row .body")
        assert page.problems == []
