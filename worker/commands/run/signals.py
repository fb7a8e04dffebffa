"""End the process at once on a signal. As process 1 of a container, it would ignore a signal without a handler."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

#: The signals that end a process unless it handles them; Python handles SIGINT itself.
ENDING = (signal.SIGTERM, signal.SIGHUP)
#: The signals that drain a worker.
DRAINING = (*ENDING, signal.SIGINT)


def leave_at_once(numbers: tuple[signal.Signals, ...] = ENDING) -> None:
    """End this process with 128 + number on each of these signals, until another handler replaces this one."""
    for number in heard(numbers):
        signal.signal(number, _leave)


def heard(numbers: tuple[signal.Signals, ...]) -> list[signal.Signals]:
    """Return the signals, without SIGHUP if the parent process ignores it, as `nohup` does."""
    return [number for number in numbers if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def _leave(number: int, _frame: FrameType | None) -> None:
    # Threads may load a model, which nothing else ends.
    os._exit(128 + number)
