"""The summary of a worker's progress for a log line from time to time. Pure: the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

#: The time between two summaries, in seconds.
INTERVAL_S = 30.0


@dataclass(slots=True)
class Progress:
    """Counts since the last summary."""

    num_records: int = 0
    num_dead_letters: int = 0
    #: Records between the position and the end of all partitions, now.
    num_lag: int = 0
    # Time of the last summary; None before the first look.
    _since_s: float | None = None

    def take(self, now_s: float) -> dict[str, int | float] | None:
        """Return the summary if it is due, and start the next one; None before, and if no record was read meanwhile."""
        if self._since_s is None:
            self._since_s = now_s
        elapsed_s = now_s - self._since_s
        if elapsed_s < INTERVAL_S:
            return None
        summary = {
            "records": self.num_records,
            "records_per_s": round(self.num_records / elapsed_s, 1),
            "lag": self.num_lag,
            "dead_letters": self.num_dead_letters,
        }
        has_news = self.num_records > 0 or self.num_dead_letters > 0
        self._since_s, self.num_records, self.num_dead_letters = now_s, 0, 0
        return summary if has_news else None
