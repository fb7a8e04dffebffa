"""What stands still although there is more to read is stuck; nothing else is."""

from __future__ import annotations

from worker.broker.consumer.stall_detector import StallDetector
from worker.records import Partition

ONE, TWO = Partition("texts", 0), Partition("texts", 1)
BOTH = [ONE, TWO]


def test_a_partition_that_is_behind_and_does_not_move_is_stuck() -> None:
    """Once it has been so for as long as is allowed, and not before."""
    detector = StallDetector(limit_s=20)
    assert detector.find_stalled({ONE: 5, TWO: 9}, {ONE: 6, TWO: 9}, BOTH, 0.0) == []
    assert detector.find_stalled({ONE: 5, TWO: 9}, {ONE: 8, TWO: 9}, BOTH, 19.0) == []
    assert detector.find_stalled({ONE: 5, TWO: 9}, {ONE: 8, TWO: 9}, BOTH, 20.0) == [ONE]


def test_who_moves_is_not_stuck_however_far_behind_it_is() -> None:
    """The time begins anew with each step."""
    detector = StallDetector(limit_s=20)
    for second in range(0, 100, 10):
        assert detector.find_stalled({ONE: second}, {ONE: 1_000}, [ONE], float(second)) == []


def test_who_is_at_the_end_is_not_stuck_however_long_it_is_idle() -> None:
    """What comes then has its own time."""
    detector = StallDetector(limit_s=20)
    for second in range(0, 100, 10):
        assert detector.find_stalled({ONE: 7}, {ONE: 7}, [ONE], float(second)) == []
    assert detector.find_stalled({ONE: 7}, {ONE: 8}, [ONE], 101.0) == []


def test_who_had_no_room_meanwhile_begins_anew() -> None:
    """Backpressure stands still too, by intention."""
    detector = StallDetector(limit_s=20)
    detector.find_stalled({ONE: 5, TWO: 5}, {ONE: 9, TWO: 9}, BOTH, 0.0)
    detector.retain([TWO])
    assert detector.find_stalled({ONE: 5, TWO: 5}, {ONE: 9, TWO: 9}, BOTH, 25.0) == [TWO]


def test_who_is_stuck_again_and_again_is_given_more_time() -> None:
    """A batch that is long in coming over a slow line comes at last; once it has, all is as before."""
    detector = StallDetector(limit_s=20)
    alarms = []
    for second in range(400):
        if detector.find_stalled({ONE: 5}, {ONE: 9}, [ONE], float(second)):
            alarms.append(second)
            # The client is made anew.
            detector.reset()
    assert alarms == [20, 61, 142, 303]
    detector.find_stalled({ONE: 6}, {ONE: 9}, [ONE], 400.0)
    assert detector.find_stalled({ONE: 6}, {ONE: 9}, [ONE], 420.0) == [ONE]


def test_as_long_as_the_ends_are_unknown_nobody_is_stuck() -> None:
    """A broker that does not answer has its own time-outs, and a partition whose end did not come is left alone."""
    detector = StallDetector(limit_s=20)
    detector.find_stalled({ONE: 5}, {ONE: 9}, [ONE], 0.0)
    detector.reset()
    assert detector.find_stalled({ONE: 5}, {ONE: 9}, [ONE], 30.0) == []
    assert detector.find_stalled({ONE: 5}, {}, [ONE], 60.0) == []
