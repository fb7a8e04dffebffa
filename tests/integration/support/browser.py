"""A headless Chromium, driven over its own protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: The program, or None where no Chromium is installed.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
# Without a sandbox, because a container often runs as root. The browser opens pages of this machine only.
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0"),
)
_TIMEOUT_S = 60.0


class Page:
    """One page of the browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        #: Exceptions of scripts, and errors and warnings of the console, the policy of the page included.
        self.problems: list[str] = []

    async def read(self) -> None:
        """Read the messages of the browser until it ends."""
        async for message in self._socket:
            content = message.json()
            if "id" in content:
                self._answers.pop(content["id"]).set_result(content)
            elif content["method"] == "Runtime.exceptionThrown":
                self.problems.append(str(content["params"]["exceptionDetails"]))
            elif content["method"] == "Log.entryAdded" and content["params"]["entry"]["level"] in {"error", "warning"}:
                self.problems.append(content["params"]["entry"]["text"])

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        content = await asyncio.wait_for(answer, _TIMEOUT_S)
        assert "error" not in content, f"{method}: {content['error']}"
        result: dict[str, Any] = content["result"]
        return result

    async def open_until_loaded(self, url: str) -> None:
        """Open an address as soon as a server answers there, and wait for the page."""
        while "errorText" in await self.call("Page.navigate", url=url):
            self.problems.clear()
            await asyncio.sleep(0.1)
        await self.until("document.readyState === 'complete'")

    async def evaluate(self, script: str) -> Any:
        """Return the value of an expression of JavaScript. The policy of the page does not apply to the protocol."""
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, f"{script}: {result}"
        return result["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until an expression is true; the time limit of the test ends the wait."""
        while not await self.evaluate(f"Boolean({condition})"):  # noqa: ASYNC110  the page sends no event
            await asyncio.sleep(0.05)

    async def read_text(self, selector: str) -> str:
        """Return the visible text of an element; empty without one."""
        return str(await self.evaluate(f"document.querySelector({selector!r})?.innerText ?? ''"))

    async def until_text(self, selector: str, text: str) -> None:
        """Wait until an element contains a text."""
        await self.until(f"(document.querySelector({selector!r})?.innerText ?? '').includes({text!r})")

    async def click(self, selector: str) -> None:
        """Click an element, which scrolls into view."""
        await self.evaluate(f"document.querySelector({selector!r}).click()")

    async def type(self, selector: str, text: str) -> None:
        """Replace the content of a field."""
        await self.evaluate(f"(() => {{ const field = document.querySelector({selector!r}); field.focus(); field.select(); }})()")
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, code: int) -> None:
        """Press and release a key by its name and its Windows code."""
        for kind in ("rawKeyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    async def list_controls(self) -> list[tuple[str, str]]:
        """Return role and name of every control in the accessibility tree."""
        roles = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "meter", "image", "dialog"}
        nodes = (await self.call("Accessibility.getFullAXTree"))["nodes"]
        found = [
            (node.get("role", {}).get("value", ""), node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]
        ]
        return [(role, name) for role, name in found if role in roles]

    async def resize(self, width: int, height: int, *, scheme: str = "light", scale: float = 1) -> None:
        """Set the size of the window in CSS pixels, and the preferred colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def screenshot(self, file: Path) -> None:
        """Write a picture of the window."""
        answer = await self.call("Page.captureScreenshot", format="png", optimizeForSpeed=False)
        file.write_bytes(base64.b64decode(answer["data"]))  # noqa: ASYNC240  a small local file


@contextlib.asynccontextmanager
async def open_page() -> AsyncIterator[Page]:
    """Start a browser with an empty profile and yield its page."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        # The program is a shell script, which its own group ends together with the browser.
        process = await asyncio.create_subprocess_exec(
            *(CHROMIUM, *_FLAGS, f"--user-data-dir={folder}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port = await _read_port(Path(folder) / "DevToolsActivePort")
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    targets = await answer.json(content_type=None)
                address = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
                async with session.ws_connect(address, max_msg_size=0) as socket:
                    page = Page(socket)
                    reading = asyncio.create_task(page.read())
                    for domain in ("Page", "Runtime", "Log", "Accessibility"):
                        await page.call(f"{domain}.enable")
                    yield page
                    reading.cancel()
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _read_port(file: Path) -> int:
    async with asyncio.timeout(_TIMEOUT_S):
        while not file.exists() or "\n" not in file.read_text():  # noqa: ASYNC110, ASYNC240  the browser has no other sign
            await asyncio.sleep(0.05)
    return int(file.read_text().split("\n")[0])  # noqa: ASYNC240  a small local file
