"""Counts of dead letters by stage and reason, for a log line from time to time. Pure: the time is an argument."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.records import Failure

#: Minimum time between two lines, in seconds.
INTERVAL_S = 30.0
# Maximum reasons in a line; the others are counted together.
_MAX_REASONS = 10
# Long enough for the advice at the end of the messages of the decoder.
_MAX_REASON_CHARS = 240
_OTHERS = "other reasons"
# Parts of a message that differ between records or have data of a record: quoted parts and numbers.
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"\d[\d,.]*(?<![,.])")


class DeadLetterTally:
    """Counts dead letters until the next line is due: the first is due at once, the others after `INTERVAL_S`."""

    def __init__(self) -> None:
        """Start with no dead letters."""
        # Counts since the last line, by stage and reason.
        self._counts: Counter[str] = Counter()
        # Time of the last line, in seconds; None before the first.
        self._last_s: float | None = None

    def count(self, failure: Failure) -> None:
        """Count a dead letter."""
        reason = reason_without_data(failure)
        self._counts[reason if reason in self._counts or len(self._counts) < _MAX_REASONS else _OTHERS] += 1

    def take(self, now_s: float) -> dict[str, int]:
        """Return the counts since the last line, the most frequent first, if a line is due; else an empty dictionary."""
        if not self._counts or (self._last_s is not None and now_s - self._last_s < INTERVAL_S):
            return {}
        self._last_s = now_s
        return self.take_rest()

    def take_rest(self) -> dict[str, int]:
        """Return the counts since the last line, due or not."""
        counts, self._counts = self._counts, Counter()
        return dict(counts.most_common())


def reason_without_data(failure: Failure) -> str:
    """Return the stage and the reason of a failure in one line, without numbers and quoted parts: these differ between records."""
    message = _NUMBER.sub("#", _QUOTED.sub("'…'", " ".join(failure.message.split())))
    reason = f"{failure.stage}: {failure.error}: {message}"
    return reason if len(reason) <= _MAX_REASON_CHARS else reason[: _MAX_REASON_CHARS - 1] + "…"
