"""How much work waits, in tokens and in seconds: what an autoscaler should see. Pure: the time is an argument.

Lag in records says little where texts differ in length. What was not read yet is estimated: its records times the mean tokens of
what was read of the partition lately. What is in flight is known. The speed is that of the time in which there was work: a worker
that is idle for nine of ten seconds is not ten times slower than it can be, but one that has work and does none comes to
nothing. The capacity counts only time in which records were handed over: lag that never arrives says nothing of the model, and an
autoscaler that divides by a capacity of nearly nothing would ask for more and more replicas.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.records import Partition

#: What is said where the work would take longer or for ever, a day: autoscalers refuse infinity, or take it for nothing.
MAX_SECONDS = 86_400.0
# What a record is taken to have before the first was read.
_TOKENS_GUESSED = 32.0
# The number of records that the mean covers, about.
_MEAN_RECORDS = 1_000
# After this time with work, half of the weight of the speed is new, in seconds.
_HALF_LIFE_S = 30.0
# With work and without progress for so long, we are stuck and not only starting, in seconds.
_STUCK_AFTER_S = 5.0


@dataclass(frozen=True, slots=True)
class LoadEstimate:
    """What waits now. A speed that is not known yet is None, and so is a time that would need it."""

    #: Not read yet, and in flight, by partition.
    lag_tokens: Mapping[Partition, float]
    #: Until a partition is drained at its present speed, if nothing more came; 0 where nothing waits, `MAX_SECONDS` at most.
    seconds_to_drain: Mapping[Partition, float]
    #: The same of all our partitions together.
    worker_seconds_to_drain: float | None
    #: Tokens for each second in which the worker had records to work on.
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
    """Tokens over the seconds in which there was work; the older, the less they count."""

    tokens: float = 0.0
    seconds: float = 0.0

    def add(self, num_tokens: float, seconds: float) -> None:
        decay = 0.5 ** (seconds / _HALF_LIFE_S)
        self.tokens, self.seconds = self.tokens * decay + num_tokens, self.seconds * decay + seconds

    @property
    def per_s(self) -> float | None:
        """None while there was no time to measure, or too little to say that we are stuck."""
        if self.seconds <= 0 or (self.tokens <= 0 and self.seconds < _STUCK_AFTER_S):
            return None
        return self.tokens / self.seconds


@dataclass(slots=True)
class _Share:
    """What is known of one of our partitions."""

    mean: _Mean = field(default_factory=_Mean)
    speed: _Speed = field(default_factory=_Speed)
    #: Since the last look.
    num_tokens_done: int = 0
    #: Whether something waited at the last look.
    had_work: bool = False
    #: Whether records were handed over since the last look, or were in flight at the last look.
    was_handed_over: bool = False


class LoadEstimator:
    """Told of each record and each pass, and looked at about once a second."""

    def __init__(self) -> None:
        """Know nothing yet."""
        # By assigned partition; a revoked partition is removed.
        self._shares: dict[Partition, _Share] = {}
        # Over all partitions.
        self._mean = _Mean()
        self._speed = _Speed()
        # The speed while the worker had records to work on, over all partitions.
        self._capacity = _Speed()
        # When we were last looked at; None before.
        self._looked_s: float | None = None
        # The model's time since the last look, in seconds; passes that overlap count once.
        self._busy_s = 0.0
        # When the last pass ended.
        self._free_s = 0.0

    def tokenized(self, partition: Partition, num_tokens: int) -> None:
        """Note what a record that was read weighs."""
        self._mean.add(num_tokens)
        share = self._share(partition)
        share.mean.add(num_tokens)
        share.was_handed_over = True

    def inferred(self, num_tokens: Mapping[Partition, int], *, began_s: float, ended_s: float) -> None:
        """Note a pass: its tokens by partition, and its time."""
        for partition, number in num_tokens.items():
            share = self._share(partition)
            share.num_tokens_done += number
            share.was_handed_over |= number > 0
        self._busy_s += max(0.0, ended_s - max(began_s, self._free_s))
        self._free_s = max(self._free_s, ended_s)

    def look(
        self, now_s: float, *, lag_records: Mapping[Partition, int], in_flight_tokens: Mapping[Partition, int]
    ) -> LoadEstimate:
        """Estimate what waits, from the records of our partitions that were not read yet, and the tokens that are in flight."""
        ours = lag_records.keys() | in_flight_tokens.keys()
        self._shares = {it: self._share(it) for it in ours}
        waiting = {it: lag_records.get(it, 0) * self._mean_of(it) + in_flight_tokens.get(it, 0) for it in sorted(ours)}
        elapsed_s = 0.0 if self._looked_s is None else max(0.0, now_s - self._looked_s)
        self._measure(waiting, in_flight_tokens, elapsed_s)
        self._looked_s = now_s
        speed = self._speed.per_s
        num_waiting = sum(it > 0 for it in waiting.values())
        speeds = {it: self._speed_of(it, None if speed is None else speed / max(1, num_waiting)) for it in waiting}
        drains = {it: _seconds(tokens, speeds[it]) for it, tokens in waiting.items()}
        return LoadEstimate(
            lag_tokens=waiting,
            seconds_to_drain={it: seconds for it, seconds in drains.items() if seconds is not None},
            worker_seconds_to_drain=_seconds(sum(waiting.values()), speed),
            capacity_per_s=self._capacity.per_s,
        )

    def _measure(self, waiting: Mapping[Partition, float], in_flight: Mapping[Partition, int], elapsed_s: float) -> None:
        """Take over what was done since the last look, and begin the next interval."""
        had_work, has_work = any(it.had_work for it in self._shares.values()), any(waiting.values())
        # Where something waited all the time, all the time counts; where not, only that of the model.
        worked_s = elapsed_s if had_work and has_work else min(elapsed_s, self._busy_s)
        num_tokens_done = sum(it.num_tokens_done for it in self._shares.values())
        self._speed.add(num_tokens_done, worked_s)
        was_handed_over = any(it.was_handed_over for it in self._shares.values()) or any(in_flight.values())
        self._capacity.add(num_tokens_done, worked_s if was_handed_over else min(elapsed_s, self._busy_s))
        self._busy_s = 0.0
        for partition, share in self._shares.items():
            if share.had_work and waiting[partition]:
                share.speed.add(share.num_tokens_done, elapsed_s)
            elif not waiting[partition]:
                # Its speed was that of a share among others, which may be gone when it has work again.
                share.speed = _Speed()
            share.num_tokens_done, share.had_work = 0, waiting[partition] > 0
            share.was_handed_over = in_flight.get(partition, 0) > 0

    def _share(self, partition: Partition) -> _Share:
        share = self._shares.get(partition)
        if share is None:
            share = self._shares[partition] = _Share()
        return share

    def _mean_of(self, partition: Partition) -> float:
        mean = self._share(partition).mean
        return mean.value if mean.num_records else self._mean.value

    def _speed_of(self, partition: Partition, fair_per_s: float | None) -> float | None:
        """Return its own speed once it was measured for long enough, before that a fair share of ours."""
        speed = self._share(partition).speed
        return speed.per_s if speed.seconds >= _STUCK_AFTER_S else fair_per_s


def _seconds(num_tokens: float, per_s: float | None) -> float | None:
    if num_tokens <= 0:
        return 0.0
    if per_s is None:
        return None
    return MAX_SECONDS if per_s * MAX_SECONDS <= num_tokens else num_tokens / per_s
