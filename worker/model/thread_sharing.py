"""The threads of the matrix products, divided among the passes that run beside each other on a CPU.

Threads that share one pass wait for the slowest of them, and whoever takes a core for a moment, as the event loop does all the
time, delays them all. Under a backlog each pass therefore has threads of its own; a pass that is alone has all of them, and is over
sooner.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# More passes at a time would only hold more records back.
_MOST_PASSES = 4


class ThreadBudget:
    """Gives each pass its threads, for the time that it runs; a pass runs in one thread of the caller."""

    def __init__(self, num_threads: int, *, passes: int = 0, is_alone: bool = False, is_divided: bool = True) -> None:
        """Divide `num_threads` among so many passes; 0 for as many as leave the fewest threads over, at most four.

        With `is_alone` one pass has all at a time, whoever asks; of `passes` (0: one) the others prepare or finish theirs. Without
        `is_divided` the threads are not torch's, and the backend divides them.
        """
        #: How many passes may be under way at a time.
        self.max_passes = (passes or 1) if is_alone else min(passes or _choose_passes(num_threads), num_threads)
        self.num_threads = num_threads
        self._lock = threading.Lock()
        self._num_running = 0
        self._is_divided = is_divided and self.max_passes > 1 and not is_alone
        # Held by the pass that runs, where that must be alone.
        self._alone = threading.Lock() if is_alone else contextlib.nullcontext()

    @contextlib.contextmanager
    def taken(self, *, gives_way: bool = False) -> Iterator[None]:
        """Let torch have as many threads as a pass that begins now should have: all, if it waits while others run."""
        with self._alone:
            if self._is_divided:
                self._take_threads(gives_way=gives_way)
            try:
                yield
            finally:
                if self._is_divided and not gives_way:
                    with self._lock:
                        self._num_running -= 1

    def _take_threads(self, *, gives_way: bool) -> None:
        own = self.num_threads
        if not gives_way:
            with self._lock:
                own = self.num_threads // self.max_passes if self._num_running else self.num_threads
                self._num_running += 1
        # Loaded long ago by a backend that divides torch's threads, and by no other.
        import torch  # noqa: PLC0415

        # Each thread of a caller has a number of its own; to set it anew takes time.
        if torch.get_num_threads() != own:
            torch.set_num_threads(own)


def _choose_passes(num_threads: int) -> int:
    """Return how many passes use the most threads, each having as many as the others; the more passes, the better."""
    counts = range(min(2, num_threads), min(_MOST_PASSES, num_threads) + 1)
    return max(counts, key=lambda count: (num_threads // count * count, count))
