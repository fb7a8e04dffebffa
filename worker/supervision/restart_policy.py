"""What becomes of a replica that has ended: pure decisions, no clock and no process."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import TypeAlias

from worker.errors import BadModel, BadSettings, DrainIncomplete, TooManyDeadLetters, TooManyFailures, TopicsMissing

#: Exit codes that say: the next try would end in the same way. A broker that cannot be reached is none of them, for it comes back.
BEYOND_REPEATING = frozenset(it.exit_code for it in (BadSettings, TopicsMissing, BadModel, TooManyFailures, TooManyDeadLetters))


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after a pause, in seconds."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class StopAll:
    """Let all others drain, and end with this exit code."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave it: everybody is leaving."""


Decision: TypeAlias = Restart | StopAll | Leave


@dataclass(slots=True)
class Policy:
    """Remembers who failed how often, and what all of it is to end with.

    A pause doubles with each failure in a row, from the first to the longest; a replica that has lived for `healthy_after_s`
    begins anew. Replicas do not wait for each other.
    """

    first_pause_s: float = 1.0
    max_pause_s: float = 60.0
    healthy_after_s: float = 60.0
    #: Whether all are to leave.
    is_stopping: bool = False
    #: What the supervisor ends with, once all have left.
    exit_code: int = 0
    # Failures in a row, by replica.
    _num_failures: dict[int, int] = field(default_factory=dict)

    def stop(self) -> None:
        """Note that all are to leave: whoever ends from now on is left."""
        self.is_stopping = True

    def ended(self, replica: int, code: int, *, lived_s: float) -> Decision:
        """Decide on a replica that ended with an exit code, or by the signal `-code`, after so many seconds.

        Also code 0 is a failure while nobody asked it to stop. One that dies while it drains has left work to its successors; one
        that our SIGTERM ends had not begun any.
        """
        if self.is_stopping:
            if code not in {0, -signal.SIGTERM} and not self.exit_code:
                self.exit_code = DrainIncomplete.exit_code
            return Leave()
        if code in BEYOND_REPEATING:
            self.is_stopping, self.exit_code = True, code
            return StopAll(code)
        num_failures = 1 if lived_s >= self.healthy_after_s else self._num_failures.get(replica, 0) + 1
        self._num_failures[replica] = num_failures
        return Restart(min(self.max_pause_s, self.first_pause_s * 2.0 ** (min(num_failures, 32) - 1)))
