"""Measure the console under load: a real Kafka, a real worker, and the page in Chromium with the view Flow.

python -m tests.integration.console.measure_page [SECONDS] [RECORDS_PER_SECOND]    by default 60 and 100
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tests.integration.support.browser import open_page
from worker.broker.tools.clients import open_producer
from worker.composition.broker import build_connection, create_topics
from worker.settings import read
from worker.testbed.embedded_kafka import find_free_port
from worker.testbed.worker_process import ConsoleProcess, WorkerProcess, run_kafka

if TYPE_CHECKING:
    from tests.integration.support.browser import Page
    from worker.settings import Settings

_TEXTS = (
    "Great: Anna Schmidt of Siemens fixed our printer in Berlin!",
    "The parcel came two days late and the support never answered.",
    "Ada Lovelace and Charles Babbage met in London in 1833.",
)
# Seconds between two lines of figures.
_INTERVAL_S = 10.0
# The delay of a row is the time from the timestamp of its newest output until the frame after the row was drawn.
_WATCH = """window.delays = []; window.numRows = 0;
document.addEventListener("console:records", ({ detail }) => {
    window.numRows += detail.rows.length + detail.num_more;
    requestAnimationFrame(() => setTimeout(() => {
        const now = Date.now();
        window.delays.push(...detail.rows.filter((row) => row.published_ms).map((row) => now - row.published_ms));
    }));
})"""


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def send(settings: Settings, num_records: int, per_s: float) -> None:
    """Send records at a rate, each at its time."""
    start_s = time.monotonic()
    async with open_producer(build_connection(settings)) as producer:
        for number in range(num_records):
            await asyncio.sleep(max(0.0, start_s + number / per_s - time.monotonic()))
            value = orjson.dumps({"id": f"id-{number}", "text": f"{number}: {_TEXTS[number % len(_TEXTS)]}"})
            await producer.send(settings.input_topics[0], value, key=b"%d" % number)
        await producer.flush()


def measure_process(process_id: int) -> dict[str, float]:
    """Return the resident memory and the processor time of the console."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    memory_kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    ticks = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[11:13]
    return {"console MiB": memory_kib / 1024, "processor s": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")}


async def measure_page(page: Page) -> dict[str, float]:
    """Return the size of the page after a garbage collection."""
    await page.call("HeapProfiler.collectGarbage")
    counters, heap = await page.call("Memory.getDOMCounters"), await page.call("Runtime.getHeapUsage")
    return {
        "rows received": await page.evaluate("window.numRows"),
        "rows drawn": await page.evaluate("document.querySelectorAll('flow-view .row').length"),
        "heap MiB": heap["usedSize"] / (1 << 20),
        "nodes": counters["nodes"],
        "listeners": counters["jsEventListeners"],
    }


async def watch(url: str, console_id: int, settings: Settings, seconds: float, per_s: float) -> None:
    """Print the sizes of console and page at intervals, and then the delays."""
    async with open_page() as page:
        await page.resize(1280, 800)
        await page.open_until_loaded(f"{url}#flow")
        await page.until("document.querySelector('#connection').dataset.state === 'live'")
        await page.evaluate(_WATCH)
        start_s, sending = time.monotonic(), asyncio.create_task(send(settings, int(seconds * per_s), per_s))
        while True:
            is_last = sending.done()
            sizes = measure_process(console_id) | await measure_page(page)
            say(f"{time.monotonic() - start_s:5.0f} s  " + "  ".join(f"{name} {size:,.1f}" for name, size in sizes.items()))
            if is_last:
                break
            await asyncio.wait([sending], timeout=_INTERVAL_S)
        sending.result()
        delays = np.array(await page.evaluate("window.delays"))
        p50, p99 = np.percentile(delays, [50, 99])
        say(f"publication to page: {len(delays):,} changes of rows, p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {delays.max():.0f} ms")
        assert page.problems == []


async def run(bootstrap_servers: str, folder: Path, seconds: float, per_s: float) -> None:
    """Run worker and console on a broker, and measure."""
    name = f"texts-{time.time_ns()}"
    chosen: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers,
        "input_topic": name,
        "group_id": name,
        "output_layout": "split",
    }
    await create_topics(read(chosen))
    worker = WorkerProcess(chosen | {"api": True, "api_port": (api := find_free_port())}, folder / "worker.log")
    try:
        await worker.wait_until_ready()
        console = ConsoleProcess(chosen, worker.url, folder / "console.log", api_url=f"http://127.0.0.1:{api}")
        try:
            await watch(console.url, console.process.pid, read(chosen), seconds, per_s)
        finally:
            console.stop()
    finally:
        worker.stop()


def main(seconds: float = 60.0, per_s: float = 100.0) -> None:
    """Measure on a broker of its own, or on that of GIST_BOOTSTRAP_SERVERS."""
    with tempfile.TemporaryDirectory() as folder, run_kafka(say) as (bootstrap_servers, _):
        asyncio.run(run(bootstrap_servers, Path(folder), seconds, per_s))


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
