"""The figures of a change of the group."""

from __future__ import annotations

import math

from worker.bench.scale.membership_changes import KINDS, PROTOCOLS, build_changes, build_waits, longest_pause_s, takeover_s
from worker.bench.stream.tally import Answer


def test_the_longest_pause_is_that_of_one_partition() -> None:
    """Answers of other partitions do not hide the pause, in any order of the answers."""
    done = [(0, 1000), (1, 1100), (1, 1900), (1, 2700), (0, 4000), (1, 3500)]
    assert longest_pause_s([Answer(0, done_ms, partition=partition) for partition, done_ms in done]) == 3.0
    assert math.isnan(longest_pause_s([Answer(0, 5)]))


def test_partitions_that_stay_are_told_from_those_that_move() -> None:
    """The figures are the longest waits, and NaN if no partition moves."""
    answers = [Answer(due_ms, 2_500, partition=partition) for partition, due_ms in [(0, 2_000), (0, 2_400), (1, 500), (2, 2_300)]]
    assert build_waits(answers, {1}) == {"stays_s": 0.5, "moves_s": 2.0, "num_moved": 1}
    assert math.isnan(build_waits(answers, set())["moves_s"])


def test_each_change_is_measured_with_each_protocol() -> None:
    """A rolling restart is measured with static members, too."""
    changes = build_changes(KINDS, PROTOCOLS, "exactly_once")
    first = [f"quiet, {protocol} protocol, exactly once" for protocol in PROTOCOLS]
    assert [change.name for change in changes[:2]] == first
    static = [change for change in changes if change.is_static]
    assert len(changes) == 2 * (len(KINDS) + 1)
    assert [change.name for change in static] == [
        f"rolling, static members, {protocol} protocol, exactly once" for protocol in PROTOCOLS
    ]


def test_a_takeover_ends_when_the_last_partition_is_served_again() -> None:
    """Late outputs of the killed worker do not count; a partition without later answers gives infinity."""
    done = [(0, 900), (1, 950), (1, 1010), (0, 2500), (1, 9000), (1, 9500), (0, 9900)]
    answers = [Answer(0, done_ms, partition=partition) for partition, done_ms in done]
    assert takeover_s(answers, 1000) == 8.0
    assert takeover_s([*answers, Answer(0, 900, partition=2)], 1000) == math.inf
