"""Leave at once on a signal, from the first moment on: as process 1 of a container, a signal without a handler is ignored."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

#: The signals that end a process unless it handles them; Python handles SIGINT itself.
ENDING = (signal.SIGTERM, signal.SIGHUP)
#: The signals upon which a worker drains.
DRAINING = (*ENDING, signal.SIGINT)


def leave_at_once(numbers: tuple[signal.Signals, ...] = ENDING) -> None:
    """End this process with 128 + number on each of these signals, until something else handles them."""
    for number in heard(numbers):
        signal.signal(number, _leave)


def heard(numbers: tuple[signal.Signals, ...]) -> list[signal.Signals]:
    """Return the signals without SIGHUP where the parent asked to ignore that, as `nohup` does."""
    return [number for number in numbers if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN]


def _leave(number: int, _frame: FrameType | None) -> None:
    # Threads may be deep in the loading of a model; nothing short of this ends them.
    os._exit(128 + number)
