"""Divide the threads of the matrix products among the forward passes that run at the same time on a CPU.

The threads of one pass wait for the slowest thread. A process or thread that takes a core for a moment, such as the event loop,
delays the whole pass. Under a backlog each pass therefore has its own threads. A pass that runs alone uses all threads.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# More passes at a time would delay more records without more throughput.
_MOST_PASSES = 4


class ThreadBudget:
    """Gives each pass its threads, for the time that it runs; a pass runs in one thread of the caller."""

    def __init__(self, num_threads: int, *, passes: int = 0, is_alone: bool = False, is_divided: bool = True) -> None:
        """Divide `num_threads` among `passes`; 0 selects the number that leaves the fewest threads unused, at most four.

        With `is_alone` one pass at a time uses all threads; the other `passes` (0: one pass) prepare inputs or convert results.
        Without `is_divided` the backend has its own threads and divides them itself.
        """
        #: The maximum number of concurrent passes.
        self.max_passes = (passes or 1) if is_alone else min(passes or _choose_passes(num_threads), num_threads)
        self.num_threads = num_threads
        self._lock = threading.Lock()
        self._num_running = 0
        self._is_divided = is_divided and self.max_passes > 1 and not is_alone
        # The running pass holds this lock if passes may not run concurrently.
        self._alone = threading.Lock() if is_alone else contextlib.nullcontext()

    @contextlib.contextmanager
    def taken(self, *, gives_way: bool = False) -> Iterator[None]:
        """Set torch's threads for a pass that begins now; a pass that yields to others gets all threads."""
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
        # The backend that divides torch's threads has loaded torch already; other backends run without torch.
        import torch  # noqa: PLC0415

        # torch keeps one setting for each calling thread, and a change takes time.
        if torch.get_num_threads() != own:
            torch.set_num_threads(own)


def _choose_passes(num_threads: int) -> int:
    """Return the number of passes that uses the most threads in equal shares; of equal numbers, the larger."""
    counts = range(min(2, num_threads), min(_MOST_PASSES, num_threads) + 1)
    return max(counts, key=lambda count: (num_threads // count * count, count))
