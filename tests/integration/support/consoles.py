"""A console of a worker in this process, and its views in a browser."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.integration.support.ports import free_port
from worker.commands.console.console import build_console
from worker.console.inference import InferenceEndpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.support.browser import Page
    from tests.integration.support.workers import WorkerProcess
    from worker.settings import Settings

REPLAY_TOKEN = "a-token"  # noqa: S105  of the tests


@contextlib.asynccontextmanager
async def run_console(settings: Settings, worker: WorkerProcess, api: str) -> AsyncIterator[str]:
    """Run the console of a worker with replays and an endpoint; yield its address."""
    console = build_console(
        settings, [f"http://127.0.0.1:{worker.port}"], endpoint=InferenceEndpoint(api), replay_token=REPLAY_TOKEN
    )
    port = free_port()
    serving = asyncio.create_task(console.serve("127.0.0.1", port, announce=None))
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def open_view(page: Page, name: str) -> None:
    """Open a view by its link."""
    await page.click(f"nav a[href='#{name}']")
    await page.until(f"!document.querySelector('#view-{name}').hidden")
