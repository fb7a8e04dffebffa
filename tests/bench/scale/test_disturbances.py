"""What shows of a change of the group."""

from __future__ import annotations

import math

from worker.bench.scale.disturbances import KINDS, longest_silence_s, takeover_s, ways
from worker.bench.stream.tally import Answer


def test_the_longest_silence_is_of_one_partition() -> None:
    """Others that go on do not hide it, in whatever order the answers are."""
    done = [(0, 1000), (1, 1100), (1, 1900), (1, 2700), (0, 4000), (1, 3500)]
    assert longest_silence_s([Answer(0, done_ms, partition=partition) for partition, done_ms in done]) == 3.0
    assert math.isnan(longest_silence_s([Answer(0, 5)]))


def test_a_rolling_restart_is_measured_with_names_that_stay_too() -> None:
    """Nothing else comes back a second time."""
    assert ways(KINDS) == [("join", False), ("leave", False), ("kill", False), ("rolling", False), ("rolling", True)]


def test_a_takeover_ends_when_the_last_partition_is_served_again() -> None:
    """What the dead worker had sent does not count, nor does what the others send; one that is never served is infinity."""
    done = [(0, 900), (1, 950), (1, 1010), (0, 2500), (1, 9000), (1, 9500), (0, 9900)]
    answers = [Answer(0, done_ms, partition=partition) for partition, done_ms in done]
    assert takeover_s(answers, 1000) == 8.0
    assert takeover_s([*answers, Answer(0, 900, partition=2)], 1000) == math.inf
