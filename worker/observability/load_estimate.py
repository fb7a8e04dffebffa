"""Estimate the backlog in tokens and in seconds, for an autoscaler. Pure: the time is an argument.

The lag in records is a poor measure if texts differ in length. The tokens of unread records are estimated: the lag in records times
the mean tokens of recent records of the partition. The tokens of records in flight are known.

The speed counts only time with a backlog: idle time does not lower the speed, and a backlog without progress lowers the speed to 0.
The capacity counts only time in which the worker had records. Lag that the consumer does not fetch is no measure of the model, and
an autoscaler that divides by a capacity close to 0 would start ever more replicas.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.records import Partition

#: The maximum of each estimated time: one day. Autoscalers reject infinity, or treat infinity as 0.
MAX_SECONDS = 86_400.0
# The assumed tokens of a record before the first record is tokenized.
_TOKENS_GUESSED = 32.0
# The approximate number of records that the mean covers.
_MEAN_RECORDS = 1_000
# The half-life of measurements in the speed, in seconds with a backlog.
_HALF_LIFE_S = 30.0
# A backlog without progress for this time has the speed 0, in seconds; before, the speed is unknown: the worker may be starting.
_STUCK_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class LoadEstimate:
    """The present backlog. An unknown speed is None, and a time that needs this speed is None or absent."""

    #: Tokens of unread records and of records in flight, by partition.
    lag_tokens: Mapping[Partition, float]
    #: Time until the backlog of a partition is processed, without new records: 0 without a backlog, at most `MAX_SECONDS`.
    seconds_to_drain: Mapping[Partition, float]
    #: The same time for all assigned partitions together.
    worker_seconds_to_drain: float | None
    #: Tokens per second, over the time in which the worker had records.
    capacity_per_s: float | None


@dataclass(slots=True)
class _Mean:
    """The running mean of the tokens of a record."""

    value: float = _TOKENS_GUESSED
    num_records: int = 0

    def add(self, num_tokens: int) -> None:
        self.num_records = min(_MEAN_RECORDS, self.num_records + 1)
        self.value += (num_tokens - self.value) / self.num_records


@dataclass(slots=True)
class _Speed:
    """Tokens per second with a backlog; the weight of a measurement decays with its age."""

    tokens: float = 0.0
    seconds: float = 0.0

    def add(self, num_tokens: float, seconds: float) -> None:
        decay = 0.5 ** (seconds / _HALF_LIFE_S)
        self.tokens, self.seconds = self.tokens * decay + num_tokens, self.seconds * decay + seconds

    @property
    def per_s(self) -> float | None:
        """Tokens per second; None without measured time, and with too little time to report a speed of 0."""
        if self.seconds <= 0 or (self.tokens <= 0 and self.seconds < _STUCK_AFTER_S):
            return None
        return self.tokens / self.seconds


@dataclass(slots=True)
class _Share:
    """The measurements of an assigned partition."""

    mean: _Mean = field(default_factory=_Mean)
    speed: _Speed = field(default_factory=_Speed)
    #: Tokens of forward passes since the last estimate.
    num_tokens_done: int = 0
    #: Whether the partition had a backlog at the last estimate.
    had_work: bool = False
    #: Whether records arrived since the last estimate, or were in flight at the last estimate.
    was_handed_over: bool = False


class LoadEstimator:
    """Estimates the backlog about once a second, from each tokenized record and each forward pass."""

    def __init__(self) -> None:
        # The measurements by assigned partition; a revoked partition is removed.
        self._by_partition: dict[Partition, _Share] = {}
        # The mean and the speed over all partitions.
        self._mean = _Mean()
        self._speed = _Speed()
        # The speed while the worker had records, over all partitions.
        self._capacity = _Speed()
        # The time of the last estimate; None before the first.
        self._estimated_s: float | None = None
        # Time with a forward pass since the last estimate, in seconds; overlapping passes count once.
        self._busy_s = 0.0
        # The end of the last forward pass.
        self._free_s = 0.0

    def tokenized(self, partition: Partition, num_tokens: int) -> None:
        """Add the tokens of a record to the means."""
        self._mean.add(num_tokens)
        share = self._find_share(partition)
        share.mean.add(num_tokens)
        share.was_handed_over = True

    def inferred(self, num_tokens: Mapping[Partition, int], *, began_s: float, ended_s: float) -> None:
        """Add a forward pass: its tokens by partition, and its time."""
        for partition, number in num_tokens.items():
            share = self._find_share(partition)
            share.num_tokens_done += number
            share.was_handed_over |= number > 0
        self._busy_s += max(0.0, ended_s - max(began_s, self._free_s))
        self._free_s = max(self._free_s, ended_s)

    def look(
        self, now_s: float, *, lag_records: Mapping[Partition, int], in_flight_tokens: Mapping[Partition, int]
    ) -> LoadEstimate:
        """Return the estimated backlog from the lag in records and the tokens in flight, each by assigned partition."""
        assigned = lag_records.keys() | in_flight_tokens.keys()
        self._by_partition = {partition: self._find_share(partition) for partition in assigned}
        waiting = {
            partition: lag_records.get(partition, 0) * self._find_mean(partition) + in_flight_tokens.get(partition, 0)
            for partition in sorted(assigned)
        }
        elapsed_s = 0.0 if self._estimated_s is None else max(0.0, now_s - self._estimated_s)
        self._measure(waiting, in_flight_tokens, elapsed_s)
        self._estimated_s = now_s
        speed = self._speed.per_s
        num_waiting = sum(num_tokens > 0 for num_tokens in waiting.values())
        fair_speed = None if speed is None else speed / max(1, num_waiting)
        drains = {
            partition: _compute_seconds(num_tokens, self._find_speed(partition, fair_speed))
            for partition, num_tokens in waiting.items()
        }
        return LoadEstimate(
            lag_tokens=waiting,
            seconds_to_drain={partition: seconds for partition, seconds in drains.items() if seconds is not None},
            worker_seconds_to_drain=_compute_seconds(sum(waiting.values()), speed),
            capacity_per_s=self._capacity.per_s,
        )

    def _measure(self, waiting: Mapping[Partition, float], in_flight: Mapping[Partition, int], elapsed_s: float) -> None:
        """Add the work since the last estimate to the speeds, and begin the next interval."""
        had_work, has_work = any(share.had_work for share in self._by_partition.values()), any(waiting.values())
        # With a backlog at both ends of the interval the whole interval counts, else only the time of forward passes.
        worked_s = elapsed_s if had_work and has_work else min(elapsed_s, self._busy_s)
        num_tokens_done = sum(share.num_tokens_done for share in self._by_partition.values())
        self._speed.add(num_tokens_done, worked_s)
        was_handed_over = any(share.was_handed_over for share in self._by_partition.values()) or any(in_flight.values())
        self._capacity.add(num_tokens_done, worked_s if was_handed_over else min(elapsed_s, self._busy_s))
        self._busy_s = 0.0
        for partition, share in self._by_partition.items():
            if share.had_work and waiting[partition]:
                share.speed.add(share.num_tokens_done, elapsed_s)
            elif not waiting[partition]:
                # The speed depends on the backlogs of other partitions, which may differ at the next backlog of this partition.
                share.speed = _Speed()
            share.num_tokens_done, share.had_work = 0, waiting[partition] > 0
            share.was_handed_over = in_flight.get(partition, 0) > 0

    def _find_share(self, partition: Partition) -> _Share:
        share = self._by_partition.get(partition)
        if share is None:
            share = self._by_partition[partition] = _Share()
        return share

    def _find_mean(self, partition: Partition) -> float:
        mean = self._find_share(partition).mean
        return mean.value if mean.num_records else self._mean.value

    def _find_speed(self, partition: Partition, fair_per_s: float | None) -> float | None:
        """Return the speed of the partition if its measurement is long enough, else its fair share of the worker's speed."""
        speed = self._find_share(partition).speed
        return speed.per_s if speed.seconds >= _STUCK_AFTER_S else fair_per_s


def _compute_seconds(num_tokens: float, per_s: float | None) -> float | None:
    if num_tokens <= 0:
        return 0.0
    if per_s is None:
        return None
    return MAX_SECONDS if per_s * MAX_SECONDS <= num_tokens else num_tokens / per_s
