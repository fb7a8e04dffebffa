"""The figures of a change of the group."""

from __future__ import annotations

import math

from worker.bench.scale.silences import Step, find_silences_s, find_takeover_s, summarize_steps
from worker.bench.stream.tally import Answer

OWNERS = {0: "a", 1: "a", 2: "b"}


def build_answers(*done: tuple[int, int]) -> list[Answer]:
    return [Answer(done_ms - 5, done_ms, partition=partition) for partition, done_ms in done]


def test_the_silence_of_a_partition_is_not_hidden_by_others() -> None:
    """Only silences that overlap with the interval count, in any order of the answers."""
    answers = build_answers((0, 1000), (1, 1100), (1, 1900), (1, 2700), (0, 4000), (1, 3500), (0, 9000))
    assert find_silences_s(answers, 900, 3_900) == {0: 3.0, 1: 0.8}
    assert find_silences_s(answers, 4_500, 5_000) == {0: 5.0}
    assert find_silences_s(build_answers((0, 5)), 0, 10) == {}


def test_partitions_that_stay_are_told_from_those_that_move() -> None:
    """The silences of a change are compared with the silence in quiet."""
    regular = [(partition, 1000 + 100 * number) for partition in (0, 2) for number in range(40)]
    answers = build_answers(*regular, (1, 1000), (1, 1100), (1, 3_100), (1, 3_600), (1, 4_900))
    steps = [
        Step(kind="quiet", began_ms=1_000, ended_ms=1_050, before=OWNERS, after=OWNERS),
        Step(kind="join", began_ms=3_200, ended_ms=3_500, before=OWNERS, after=OWNERS | {1: "c"}),
    ]
    figures = summarize_steps(answers, steps)
    assert (figures["quiet"]["stays_s"], figures["quiet"]["num_moved"]) == (0.1, 0)
    assert math.isnan(figures["quiet"]["moves_s"])
    assert math.isnan(figures["quiet"]["stays_beyond_s"])
    assert (figures["join"]["stays_s"], figures["join"]["moves_s"], figures["join"]["num_moved"]) == (0.1, 0.5, 1)
    assert (figures["join"]["stays_beyond_s"], figures["join"]["moves_beyond_s"]) == (0.0, 0.4)


def test_all_partitions_of_a_rolling_restart_are_silent_in_turn() -> None:
    step = Step(kind="rolling", began_ms=0, ended_ms=5_000, before=OWNERS, after=OWNERS)
    found = summarize_steps(build_answers((0, 10), (0, 2_010)), [step])["rolling"]
    assert math.isnan(found["stays_s"])
    assert found["moves_s"] == 2.0


def test_a_takeover_ends_when_the_last_partition_is_served_again() -> None:
    """Late outputs of the killed worker do not count; a partition without later answers gives infinity."""
    answers = build_answers((0, 900), (1, 950), (1, 1010), (0, 2500), (1, 9000), (1, 9500), (0, 9900))
    assert find_takeover_s(answers, 1000) == 8.0
    assert find_takeover_s([*answers, *build_answers((2, 900))], 1000) == math.inf
