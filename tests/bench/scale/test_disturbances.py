"""What shows of a change of the group."""

from __future__ import annotations

import math

from worker.bench.scale.disturbances import KINDS, longest_silence_s, ways
from worker.bench.stream.tally import Answer


def test_the_longest_silence_is_of_one_partition() -> None:
    """Others that go on do not hide it, in whatever order the answers are."""
    done = [(0, 1000), (1, 1100), (1, 1900), (1, 2700), (0, 4000), (1, 3500)]
    assert longest_silence_s([Answer(0, done_ms, partition=partition) for partition, done_ms in done]) == 3.0
    assert math.isnan(longest_silence_s([Answer(0, 5)]))


def test_a_rolling_restart_is_measured_with_names_that_stay_too() -> None:
    """Nothing else comes back a second time."""
    assert ways(KINDS) == [("join", False), ("leave", False), ("kill", False), ("rolling", False), ("rolling", True)]
