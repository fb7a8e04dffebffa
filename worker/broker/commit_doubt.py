"""Whether a commit without an answer may still arrive at the coordinator, and set offsets back."""

from __future__ import annotations

import time

# A request without an answer may arrive until this time after its failure, in seconds.
_LATE_S = 30.0


class CommitDoubt:
    """Remembers the last commit that got no answer."""

    def __init__(self) -> None:
        """Start without a doubt."""
        # Until this time, in seconds of `time.monotonic`, an earlier commit may arrive and set offsets back.
        self._until_s = -float("inf")

    def note(self) -> None:
        """Note a commit without an answer."""
        self._until_s = time.monotonic() + _LATE_S

    @property
    def is_open(self) -> bool:
        """Whether a commit without an answer may still arrive, after commits of later offsets."""
        return time.monotonic() < self._until_s
