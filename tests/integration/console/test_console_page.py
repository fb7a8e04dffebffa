"""The console in a browser, on a real Kafka with a real worker.

CONSOLE_PICTURES=docs/pictures writes the pictures of the pages, too; the test then takes two minutes more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.support.browser import CHROMIUM, open_page
from tests.integration.support.consoles import REPLAY_TOKEN, open_view, run_console
from tests.integration.support.ports import free_port
from tests.integration.support.workers import WorkerProcess, create, map_topic_outputs
from worker.broker.tools.clients import follow, open_producer
from worker.settings import read

if TYPE_CHECKING:
    from tests.integration.support.browser import Page
    from worker.broker.connection.connection import Connection

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.model,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium-headless-shell"),
]

_PICTURES = os.environ.get("CONSOLE_PICTURES")
_TEXTS = (
    "Great: Anna Schmidt of Siemens fixed our printer in Berlin!",
    "The parcel came two days late and the support never answered.",
    "Ada Lovelace and Charles Babbage met in London in 1833.",
    "What a waste of an evening, the plot made no sense at all.",
    "Microsoft opened a new office in Zurich, said Satya Nadella on Monday.",
    "The soup was cold, but the staff of the Hilton in Paris were lovely.",
    "I love how quickly Amazon refunded my order.",
    "<img src=x onerror=alert(1)> is shown as text",
    "The train to Munich was cancelled again.",
    "Angela Merkel visited the United Nations in New York.",
    "My new phone charges in twenty minutes, which is wonderful.",
    "Volkswagen moved the meeting with Greta Thunberg to Stockholm.",
)
_BAD = (b'{"text": "the JSON ends here', b'{"text": null}', b'{"text": "which task is this?", "tasks": ["translate"]}')


async def send(connection: Connection, topic: str, *, num_rounds: int = 1) -> None:
    """Send each text, and then the bad records, `num_rounds` times."""
    async with open_producer(connection) as producer:
        for number in range(num_rounds):
            for index, text in enumerate(_TEXTS):
                value = f'{{"id": "ticket-{number}-{index}", "text": "{text}"}}'.encode()
                await producer.send(topic, value, key=b"key", partition=index % 2)
        for value in _BAD:
            await producer.send(topic, value, partition=0)


async def wait_for_results(connection: Connection, topic: str) -> None:
    """Return when each record has its results or its dead letter, so that the browser starts with a state."""
    num_expected = 3 * len(_TEXTS) + len(_BAD)
    async with contextlib.aclosing(follow(connection, list(map_topic_outputs(topic)), from_beginning=True)) as arriving:
        async for records in arriving:
            num_expected -= len(records)
            if num_expected <= 0:
                return


async def check_live(page: Page) -> None:
    """The tiles, both partitions and the worker have values."""
    await page.until_text("live-view", "-1")
    await page.until("document.querySelectorAll('live-view table').length === 2")
    await page.until("document.querySelectorAll('live-view tbody tr').length === 3")
    await page.until_text("live-view", "minilm")
    await page.until("!document.querySelector('.tile strong').innerText.includes('\u2013')")


async def check_flow(page: Page, connection: Connection, topic: str) -> None:
    """Results arrive while the page is open, filters select, pause holds, and a click opens the record."""
    await open_view(page, "flow")
    await page.until(f"document.querySelectorAll('flow-view .row').length === {len(_TEXTS) + len(_BAD)}")
    assert "<img src=x onerror=alert(1)>" in await page.read_text("flow-view")
    assert await page.evaluate("document.querySelectorAll('flow-view img').length") == 0
    await page.type("flow-view input[type=search]", "lovelace")
    await page.until("document.querySelectorAll('flow-view .row').length === 1")
    await page.click("flow-view .row")
    await page.until_text("dialog.side", "gist-source-offset")
    assert "Charles Babbage" in await page.read_text("dialog.side .whole")
    await page.press("Escape", 27)
    await page.until("!document.querySelector('dialog.side').open")
    await page.type("flow-view input[type=search]", "late news")
    await page.until_text("flow-view", "No record matches")
    async with open_producer(connection) as producer:
        await producer.send(topic, b'{"id": "late", "text": "Late news from Lisbon"}', partition=0)
    await page.until_text("flow-view .row mark", "Lisbon")
    await page.click("flow-view button")
    await page.until_text("flow-view .status", "paused")
    await page.click("flow-view button")


async def check_letters(page: Page) -> None:
    """Dead letters are grouped; a replay needs the token and confirms its count."""
    await open_view(page, "letters")
    await page.until("document.querySelectorAll('.group').length === 3")
    assert "What to do" in await page.read_text(".group .advice")
    await page.click(".group .actions button")
    await page.until("document.querySelector('letters-view dialog').open")
    await page.type("#token", "wrong")
    await page.click("letters-view dialog button[type=submit]")
    await page.until_text("letters-view dialog", "the token is wrong")
    await page.type("#token", REPLAY_TOKEN)
    await page.press("Enter", 13)
    await page.click("letters-view dialog button[type=submit]")
    await page.until_text("letters-view .notice.good", "1 replayed")


async def check_typed_texts(page: Page) -> None:
    """A typed text has results and similar records, and a query finds records."""
    await open_view(page, "try")
    await page.type("#try-text", "Ada Lovelace loved London.")
    await page.click("try-view button[type=submit]")
    await page.until_text("try-view mark", "Ada Lovelace")
    await page.until("document.querySelectorAll('try-view .vector rect').length === 384")
    await page.until("document.querySelectorAll('try-view .row').length > 3")
    assert "##lace" in await page.read_text("try-view .tokens")
    await open_view(page, "search")
    await page.type("search-view input", "Ada Lovelace loved London.")
    await page.click("search-view button")
    await page.until("document.querySelectorAll('search-view .row').length > 3")
    assert "Charles Babbage" in await page.read_text("search-view .row")


async def check_names(page: Page) -> None:
    """The accessibility tree names every control of every view."""
    for name in ("live", "flow", "letters", "try", "search"):
        await open_view(page, name)
        controls = await page.list_controls()
        assert len(controls) > 6
        assert [role for role, label in controls if not label] == []


@pytest.mark.timeout(360)
async def test_every_view_works_in_a_browser(connection: Connection, topic: str) -> None:
    """Each view shows the results of a real worker, without a message of the browser's console."""
    topic, group_id = ("tickets", "gist-stream") if _PICTURES else (topic, f"group-{topic}")
    await create(connection, topic, num_partitions=2)
    async with contextlib.AsyncExitStack() as stack:
        api = free_port()
        worker = WorkerProcess(connection.bootstrap_servers, topic, group_id=group_id, api="true", api_port=api)
        stack.enter_context(worker)
        await worker.ready()
        await send(connection, topic)
        await wait_for_results(connection, topic)
        settings = read({"bootstrap_servers": connection.bootstrap_servers, "input_topic": topic, "group_id": group_id})
        url = await stack.enter_async_context(run_console(settings, worker, f"http://127.0.0.1:{api}"))
        page = await stack.enter_async_context(open_page())
        await page.resize(1280, 800)
        await page.open_until_loaded(url)
        await check_live(page)
        await check_flow(page, connection, topic)
        await check_letters(page)
        expected = [problem for problem in page.problems if "401" not in problem]
        assert expected == []
        await check_typed_texts(page)
        await check_names(page)
        if _PICTURES:
            await take_pictures(page, connection, topic, Path(_PICTURES))
        assert [problem for problem in page.problems if "401" not in problem] == []


async def take_pictures(page: Page, connection: Connection, topic: str, folder: Path) -> None:
    """Write a picture of each view of a busy worker."""
    sending = asyncio.create_task(send_steadily(connection, topic))
    await asyncio.sleep(100)
    await page.call("Page.reload")
    for name, scheme, height in (
        ("live", "light", 720),
        ("flow", "dark", 560),
        ("letters", "light", 560),
        ("search", "light", 560),
    ):
        await page.resize(1200, height, scheme=scheme)
        await page.until("document.querySelector('#connection').dataset.state === 'live'")
        await open_view(page, name)
        if name == "search":
            await page.type("search-view input", "Who met in London?")
            await page.click("search-view button")
        await page.until(f"document.querySelector('#view-{name} .row, #view-{name} table, #view-{name} .group')")
        await page.screenshot(folder / f"console-{name}.png")
    await page.resize(390, 780, scheme="dark")
    await open_view(page, "flow")
    await page.screenshot(folder / "console-phone.png")
    sending.cancel()


async def send_steadily(connection: Connection, topic: str) -> None:
    """Send about 30 records a second, a few of them bad."""
    numbers = random.Random(7)  # noqa: S311  texts of a picture
    async with open_producer(connection) as producer:
        for number in itertools.count():
            text = numbers.choice(_TEXTS)
            value = numbers.choice(_BAD) if number % 60 == 0 else f'{{"id": "ticket-{number}", "text": "{text}"}}'.encode()
            await producer.send(topic, value, key=b"key", partition=number % 2)
            await asyncio.sleep(numbers.uniform(0.02, 0.045))
