"""Decisions about replicas that have ended. Pure: no clock and no process."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import TypeAlias

from worker.errors import (
    BadModel,
    BadSettings,
    BrokerUnavailable,
    DrainIncomplete,
    TooManyDeadLetters,
    TooManyFailures,
    TopicsMissing,
)

#: Exit codes after which a restart would fail in the same way. The brokers are not among them: after a failure they return.
FINAL_EXIT_CODES = frozenset(
    error.exit_code for error in (BadSettings, TopicsMissing, BadModel, TooManyFailures, TooManyDeadLetters)
)


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the replica again after a pause, in seconds."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class StopAll:
    """Drain all other replicas, and end with this exit code."""

    exit_code: int


@dataclass(frozen=True, slots=True)
class Leave:
    """Do not start the replica again: all replicas are stopping."""


Decision: TypeAlias = Restart | StopAll | Leave


@dataclass(slots=True)
class Policy:
    """Counts the failures of each replica, and keeps the exit code of the supervisor.

    The pause doubles with each consecutive failure, from the first to the longest; after `healthy_after_s` of life, the count of a
    replica starts again. Replicas do not wait for each other.
    """

    first_pause_s: float = 1.0
    max_pause_s: float = 60.0
    healthy_after_s: float = 60.0
    #: Whether all replicas are stopping.
    is_stopping: bool = False
    #: The exit code of the supervisor after all replicas have ended.
    exit_code: int = 0
    # The replicas that have ended.
    _ended: set[int] = field(default_factory=set)
    # Consecutive failures, by replica.
    _num_failures: dict[int, int] = field(default_factory=dict)

    def stop(self) -> None:
        """Stop all replicas: a replica that ends from now on is not started again."""
        self.is_stopping = True

    def ended(self, replica: int, code: int, *, lived_s: float) -> Decision:
        """Decide about a replica that ended with an exit code, or by the signal `-code`, `lived_s` seconds after its start.

        If the first start of a replica fails at the brokers, for example without the rights of a worker, all replicas stop, as a
        single worker does. A later start fails only until the brokers return, because they have accepted the settings.

        Exit code 0 is a failure, too, if the supervisor has not stopped the replica. A replica that dies while it drains leaves
        work to others; a replica that SIGTERM ends has not begun any.
        """
        if self.is_stopping:
            if code not in {0, -signal.SIGTERM} and not self.exit_code:
                self.exit_code = DrainIncomplete.exit_code
            return Leave()
        is_start = replica not in self._ended and lived_s < self.healthy_after_s
        self._ended.add(replica)
        if code in FINAL_EXIT_CODES or (is_start and code == BrokerUnavailable.exit_code):
            self.is_stopping, self.exit_code = True, code
            return StopAll(code)
        num_failures = 1 if lived_s >= self.healthy_after_s else self._num_failures.get(replica, 0) + 1
        self._num_failures[replica] = num_failures
        return Restart(min(self.max_pause_s, self.first_pause_s * 2.0 ** (min(num_failures, 32) - 1)))
