"""The page of a busy stream in a browser: bounds, presses on moving rows, and odd texts. Kafka and workers are left out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.console.serving import serve
from tests.integration.support.browser import CHROMIUM, Page, open_page
from worker.console import feeds
from worker.console.feeds import Feeds
from worker.console.live_view import LiveView
from worker.console.record_store import RecordStore
from worker.console.server import Console, build_application
from worker.console.sources import GroupState
from worker.records import SPLIT_OUTPUTS, Partition, Record, Task
from worker.wire.decode import Limits
from worker.wire.mapping import InputMapping, build_decoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable
    from typing import Any

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium-headless-shell"),
    pytest.mark.timeout(120),
]
_TEXT = "Anna Schmidt of Siemens fixed our printer in Berlin, and it took her no longer than a cup of coffee."
_ENTITY = {"type": "PER", "text": "Anna Schmidt", "start": 0, "end": 12, "score": 0.9}
_VECTOR = [(number % 7 - 3) / 50 for number in range(384)]
# The rows of one event, and the records of a minute with 100 records a second.
_NUM_IN_EVENT, _NUM_RECORDS, _MAX_RECORDS = 750, 6_000, 1_000


class Topics:
    """Topics whose records a test puts."""

    def __init__(self) -> None:
        self.arriving: asyncio.Queue[list[Record]] = asyncio.Queue()

    async def follow(self) -> AsyncGenerator[list[Record], None]:
        """Yield what the test puts."""
        while True:
            yield await self.arriving.get()

    async def fetch_group(self) -> GroupState:
        """Return a group without members."""
        return GroupState((), ())

    def put(self, offsets: Iterable[int], text: str = _TEXT, label: str = "positive") -> None:
        """Put records with their outputs."""
        self.arriving.put_nowait([record for offset in offsets for record in build_records(offset, text, label)])


def build_records(offset: int, text: str, label: str) -> list[Record]:
    """Return an input record and its three outputs."""
    headers = ((b"gist-source-topic", b"texts"), (b"gist-source-partition", b"0"), (b"gist-source-offset", b"%d" % offset))
    named = (*((name.decode(), value) for name, value in headers), ("gist-source-timestamp", b"1000"), ("gist-model", b"m@1"))
    own: dict[str, Any] = {
        "embeddings": {"embedding": _VECTOR, "dim": 384, "encoding": "float"},
        "labels": {"labels": {"sentiment": {"label": label, "score": 0.9, "scores": {label: 0.9, "negative": 0.1}}}},
        "entities": {"entities": [_ENTITY]},
    }
    values = {name: orjson.dumps({"id": f"id-{offset}"} | value) for name, value in own.items()}
    outputs = [Record(Partition(f"texts.{name}", 0), offset, b"key", value, named, 1_040) for name, value in values.items()]
    source = orjson.dumps({"id": f"id-{offset}", "text": text})
    return [Record(Partition("texts", 0), offset, b"key", source, timestamp_ms=1_000), *outputs]


class NoLetters:
    """A dead-letter topic without messages."""

    async def list_open(self) -> tuple[list[dict[str, Any]], bool]:
        """Return no dead letter."""
        return [], True

    async def replay(self, names: object) -> str:
        """Refuse."""
        raise AssertionError(names)


@contextlib.asynccontextmanager
async def open_flow(topics: Topics) -> AsyncIterator[tuple[Page, Console]]:
    """Run a console of the topics, and open its view Flow."""
    decode = build_decoder(InputMapping(), limits=Limits(), tasks=frozenset(Task))
    outputs = {f"texts.{output}": output for output in SPLIT_OUTPUTS}
    store = RecordStore(outputs=outputs, decode=decode, result_field="nlp", max_records=_MAX_RECORDS)
    console = Console({"input_topics": ["texts"], "group_id": "g"}, store, LiveView([]), NoLetters())
    running = asyncio.create_task(Feeds(topics=topics, workers=[], store=store, live=console.live, hub=console.hub).run())
    async with serve(build_application(console)) as url, open_page() as page:
        await page.resize(1280, 800)
        await page.open_until_loaded(f"{url}/#flow")
        await page.until("document.querySelector('#connection').dataset.state === 'live'")
        try:
            yield page, console
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def measure(page: Page) -> dict[str, int]:
    """Return the elements, listeners and bytes of the page after a garbage collection."""
    await page.call("HeapProfiler.collectGarbage")
    counters, heap = await page.call("Memory.getDOMCounters"), await page.call("Runtime.getHeapUsage")
    return {"nodes": counters["nodes"], "listeners": counters["jsEventListeners"], "bytes": int(heap["usedSize"])}


async def test_a_minute_of_a_busy_stream_leaves_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the records of half a minute, neither the console nor the page grows: both keep their newest records only."""
    # Few and large events: the page draws seldom, and the test is short.
    monkeypatch.setattr(feeds, "_MAX_ROWS", _NUM_IN_EVENT)
    topics = Topics()
    async with open_flow(topics) as (page, console):
        await page.evaluate("""window.shown = (offset) => new Promise((done) => {
            const row = `[data-key='texts/0/${offset}'] .label`;
            const look = () => document.querySelector(row) ? done() : requestAnimationFrame(look);
            look(); })""")
        sizes = []
        for half in range(2):
            for first in range(half * _NUM_RECORDS // 2, (half + 1) * _NUM_RECORDS // 2, _NUM_IN_EVENT):
                topics.put(range(first, first + _NUM_IN_EVENT))
                await page.evaluate(f"window.shown({first + _NUM_IN_EVENT - 1})")
            sizes.append(await measure(page))
        assert (len(console.store), len(console.store.index), len(console.hub)) == (_MAX_RECORDS, _MAX_RECORDS, 1)
        assert await page.read_text("flow-view .status") == "1000 records here"
        assert await page.evaluate("document.querySelectorAll('flow-view .row').length") == 100
        middle, end = sizes
        assert end["nodes"] < 1.1 * middle["nodes"]
        assert end["listeners"] < 1.1 * middle["listeners"]
        assert end["bytes"] < middle["bytes"] + (1 << 20)
        assert page.problems == []


async def put_and_wait(page: Page, topics: Topics, offsets: range) -> None:
    """Put records and return after the page has drawn them, or would have."""
    topics.put(offsets)
    await page.until(f"window.newest === {offsets[-1]}")
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


async def find_mouse(page: Page, button: str) -> dict[str, Any]:
    """Return the fields of an event of the mouse on the row of offset 2."""
    x, y = await page.evaluate(
        "(({ x, y }) => [x + 9, y + 9])(document.querySelector(\"[data-key='texts/0/2']\").getBoundingClientRect())"
    )
    return {"x": x, "y": y, "button": button, "clickCount": 1}


async def test_a_press_on_a_row_opens_its_record_while_the_list_moves() -> None:
    """Records that arrive between press and release, of the mouse or of the space bar, neither move nor replace the row."""
    topics = Topics()
    async with open_flow(topics) as (page, _):
        await page.evaluate("""document.addEventListener("console:records", ({ detail }) => {
            window.newest = Math.max(...detail.rows.map((row) => row.offset)); })""")
        await put_and_wait(page, topics, range(5))
        await page.until_text("flow-view [data-key='texts/0/2']", "positive")
        right = await find_mouse(page, "right")
        await page.call("Input.dispatchMouseEvent", type="mousePressed", **right)
        await put_and_wait(page, topics, range(5, 6))
        # The list moves: a context menu may take the release of this button.
        await page.until_text("flow-view [data-key='texts/0/5']", "positive")
        await page.call("Input.dispatchMouseEvent", type="mouseReleased", **right)
        mouse = await find_mouse(page, "left")
        await page.call("Input.dispatchMouseEvent", type="mousePressed", **mouse)
        await put_and_wait(page, topics, range(6, 9))
        await page.call("Input.dispatchMouseEvent", type="mouseReleased", **mouse)
        await page.until_text("dialog.side[open]", "texts-0@2")
        await page.press("Escape", 27)
        await page.until_text("flow-view [data-key='texts/0/8']", "positive")
        await page.evaluate("document.querySelector(\"[data-key='texts/0/3']\").focus()")
        space = {"key": " ", "code": "Space", "windowsVirtualKeyCode": 32}
        await page.call("Input.dispatchKeyEvent", type="rawKeyDown", **space)
        await put_and_wait(page, topics, range(9, 12))
        await page.call("Input.dispatchKeyEvent", type="keyUp", **space)
        await page.until_text("dialog.side[open]", "texts-0@3")


async def test_odd_texts_are_shown_as_they_are() -> None:
    """No text and no label is markup, changes another row, or makes the page wider than a phone."""
    texts = [
        "<img src=x onerror=alert(1)> &amp; <b>bold</b>",
        "\u202eAnna Schmidt of Siemens",
        "\u0645\u0631\u062d\u0628\u0627 Anna!",
        "Z" + "\u0300\u0301\u0302" * 40 + "algo",
        "a null\0byte, a family \U0001f469\u200d\U0001f469\u200d\U0001f467",
        "A" * 5_000,
    ]
    topics = Topics()
    async with open_flow(topics) as (page, _):
        for offset, text in enumerate(texts):
            topics.put([offset], text, label="L" * 400)
        await page.until("document.querySelectorAll('flow-view .row .label').length === 6")
        shown = await page.evaluate(
            "[...document.querySelectorAll('flow-view .text')].map((text) => { const own = text.cloneNode(true); "
            "own.querySelectorAll('small').forEach((tag) => tag.remove()); return own.textContent; })"
        )
        assert shown[::-1] == [*texts[:-1], "A" * 2_000 + "\u2026"]
        assert await page.evaluate("document.querySelectorAll('flow-view img, flow-view .body > b').length") == 0
        assert await page.evaluate("getComputedStyle(document.querySelector('.text')).unicodeBidi") == "plaintext"
        assert await page.evaluate("getComputedStyle(document.querySelector('.entity small')).unicodeBidi") == "isolate"
        for width in (1280, 390):
            await page.resize(width, 800)
            assert await page.evaluate("document.documentElement.scrollWidth") == width
            assert await page.evaluate(
                "[...document.querySelectorAll('flow-view .row')].every((row) => row.scrollWidth <= row.clientWidth)"
            )
        assert page.problems == []
