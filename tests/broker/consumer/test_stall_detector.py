"""The detection of stalled partitions."""

from __future__ import annotations

from worker.broker.consumer.stall_detector import StallDetector
from worker.records import Partition

ONE, TWO = Partition("texts", 0), Partition("texts", 1)
BOTH = [ONE, TWO]


def test_a_partition_that_is_behind_and_does_not_move_is_stalled_after_the_limit() -> None:
    detector = StallDetector(limit_s=20)
    assert detector.find_stalled({ONE: 5, TWO: 9}, {ONE: 6, TWO: 9}, BOTH, 0.0) == []
    assert detector.find_stalled({ONE: 5, TWO: 9}, {ONE: 8, TWO: 9}, BOTH, 19.0) == []
    assert detector.find_stalled({ONE: 5, TWO: 9}, {ONE: 8, TWO: 9}, BOTH, 20.0) == [ONE]


def test_a_partition_that_moves_is_not_stalled() -> None:
    """The time starts again with each move."""
    detector = StallDetector(limit_s=20)
    for second in range(0, 100, 10):
        assert detector.find_stalled({ONE: second}, {ONE: 1_000}, [ONE], float(second)) == []


def test_a_partition_at_its_end_is_not_stalled() -> None:
    """The time of a new record starts when the record arrives."""
    detector = StallDetector(limit_s=20)
    for second in range(0, 100, 10):
        assert detector.find_stalled({ONE: 7}, {ONE: 7}, [ONE], float(second)) == []
    assert detector.find_stalled({ONE: 7}, {ONE: 8}, [ONE], 101.0) == []


def test_the_time_of_a_partition_under_backpressure_starts_again() -> None:
    detector = StallDetector(limit_s=20)
    detector.find_stalled({ONE: 5, TWO: 5}, {ONE: 9, TWO: 9}, BOTH, 0.0)
    detector.retain([TWO])
    assert detector.find_stalled({ONE: 5, TWO: 5}, {ONE: 9, TWO: 9}, BOTH, 25.0) == [TWO]


def test_the_limit_doubles_with_each_alarm_at_one_position() -> None:
    """A batch that takes long over a slow connection arrives at last. Then the first limit applies again."""
    detector = StallDetector(limit_s=20)
    alarms = []
    for second in range(400):
        if detector.find_stalled({ONE: 5}, {ONE: 9}, [ONE], float(second)):
            alarms.append(second)
            # The consumer is replaced.
            detector.reset()
    assert alarms == [20, 61, 142, 303]
    detector.find_stalled({ONE: 6}, {ONE: 9}, [ONE], 400.0)
    assert detector.find_stalled({ONE: 6}, {ONE: 9}, [ONE], 420.0) == [ONE]


def test_a_partition_with_an_unknown_end_is_not_stalled() -> None:
    detector = StallDetector(limit_s=20)
    detector.find_stalled({ONE: 5}, {ONE: 9}, [ONE], 0.0)
    detector.reset()
    assert detector.find_stalled({ONE: 5}, {ONE: 9}, [ONE], 30.0) == []
    assert detector.find_stalled({ONE: 5}, {}, [ONE], 60.0) == []
