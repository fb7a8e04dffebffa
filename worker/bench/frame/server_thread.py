"""An event loop for the server of a candidate, whose main thread answers the questions of the benchmark."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


def start_in_thread(listen: Coroutine[Any, Any, int]) -> int:
    """Run `listen` in an event loop of its own thread, which ends with the process; return its result, a port."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return asyncio.run_coroutine_threadsafe(listen, loop).result()
