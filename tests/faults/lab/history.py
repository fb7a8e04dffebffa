"""The events of a scenario as JSON lines, with the seed that repeats the scenario."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class History:
    """Appends events to a file, from any thread, with the seconds since the beginning."""

    def __init__(self, path: Path) -> None:
        """Start with an empty file."""
        self.path = path
        self._began_s = time.monotonic()
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        # How many faults were injected.
        self.num_faults = 0
        # When the first of them was, in seconds of `time.monotonic`.
        self.first_fault_s: float | None = None

    def note(self, event: str, **fields: object) -> None:
        """Append an event."""
        line = json.dumps({"s": round(time.monotonic() - self._began_s, 3), "event": event, **fields}, default=str)
        with self._lock, self.path.open("a") as file:
            file.write(line + "\n")

    def fault(self, name: str, **fields: object) -> None:
        """Append a fault, and count it."""
        with self._lock:
            self.num_faults += 1
            if self.first_fault_s is None:
                self.first_fault_s = time.monotonic()
        self.note("fault", fault=name, **fields)

    def events(self, event: str) -> list[dict[str, object]]:
        """Return the events of one kind, in order."""
        with self._lock:
            lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]
