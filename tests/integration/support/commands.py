"""Run commands as processes, at a terminal and at pipes."""

from __future__ import annotations

import contextlib
import os
import pty
import sys
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = (sys.executable, "-m", "worker")


@dataclass(slots=True)
class Typing:
    """Keyboard and screen of a terminal whose other end belongs to a process."""

    descriptor: int
    #: Everything that was shown so far.
    shown: str = ""

    def write(self, typed: bytes) -> None:
        """Type a text."""
        os.write(self.descriptor, typed)

    def read_until(self, words: str) -> str:
        """Return the output up to some words, or all of it once the terminal is closed."""
        while words not in self.shown:
            try:
                piece = os.read(self.descriptor, 4096)
            except OSError:
                break
            if not piece:
                break
            self.shown += piece.decode(errors="replace")
        return self.shown


@contextlib.contextmanager
def terminal(*, columns: int = 120) -> Iterator[tuple[Typing, int]]:
    """Yield a terminal: the end that types, and the descriptor for the process."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, columns))
    try:
        yield Typing(ours), theirs
    finally:
        os.close(ours)
        with contextlib.suppress(OSError):
            os.close(theirs)


def environment(bootstrap_servers: str, topic: str) -> dict[str, str]:
    """Return the environment of a command on a topic."""
    ours = {"GIST_BOOTSTRAP_SERVERS": bootstrap_servers, "GIST_INPUT_TOPIC": topic, "TERM": "xterm-256color"}
    return {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}} | ours
