"""The modes of the benchmarks of delivery and scaling, and of a sweep."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.delivery.run import MAIN_PARTITIONS, DeliveryPlan, build_mode, build_modes
from worker.bench.scale import run as scale
from worker.bench.stream.modes import ModePlan
from worker.errors import BadSettings
from worker.settings import read

WORK = ModePlan(num_backlog=300, phase_s=2.0)
PLAN = DeliveryPlan(intervals_ms=(10, 30, 100, 300), partition_counts=(1, 8), num_rounds=3, work=WORK)


def test_the_whole_plan_of_delivery_takes_turns() -> None:
    """The main mode runs three times, each other mode once."""
    reference, main = build_mode(8), build_mode(8, 100)
    others = [build_mode(8, 10), build_mode(8, 30), reference, build_mode(8, 300), reference, build_mode(1), build_mode(1, 100)]
    assert build_modes(PLAN) == [reference, main, reference, main, reference, main, reference, *others]


@given(
    st.lists(st.integers(1, 20), unique=True, max_size=6),
    st.lists(st.integers(1, 9), unique=True, max_size=6),
    st.integers(1, 4),
)
def test_every_exactly_once_run_is_adjacent_to_at_least_once(intervals: list[int], counts: list[int], num_rounds: int) -> None:
    """The adjacent run has the same number of partitions."""
    modes = build_modes(replace(PLAN, intervals_ms=tuple(intervals), partition_counts=tuple(counts), num_rounds=num_rounds))
    for number, mode in enumerate(modes):
        if mode.delivery == "exactly_once":
            assert build_mode(mode.num_partitions) in modes[max(0, number - 1) : number + 2]
    names = {mode.full_name for mode in modes}
    assert names >= {build_mode(MAIN_PARTITIONS, interval).full_name for interval in intervals}
    assert names >= {build_mode(count, 100).full_name for count in counts}


def test_replicas_are_pinned_to_cores() -> None:
    """Other numbers of partitions run with the most replicas."""
    plan = scale.ScalePlan(deliveries=("exactly_once",), replica_counts=(1, 3), partition_counts=(8, 2), work=WORK)
    modes = scale.build_modes(plan, "exactly_once", [4, 5])
    assert [(mode.num_replicas, mode.num_partitions) for mode in modes] == [(1, 8), (3, 8), (3, 2)]
    assert modes[1].cores == [[4], [5], [4]]
    assert modes[0].full_name == "1 replica, 8 partitions, exactly once"


def test_a_sweep_changes_one_setting_at_a_time() -> None:
    """The defaults run first and last, and commas join settings."""
    changes = ["partitions=32", "replicas=2", "max_in_flight_tokens=8192,resume_in_flight_tokens=4096"]
    modes = scale.build_sweep(changes, "exactly_once")
    assert [mode.name for mode in modes][:: len(modes) - 1] == ["defaults", "defaults again"]
    assert (modes[1].num_partitions, modes[1].settings, modes[2].num_replicas) == (32, {}, 2)
    assert read(dict(modes[3].settings)).max_in_flight_tokens == 8192
    assert {mode.delivery for mode in modes} == {"exactly_once"}
    with pytest.raises(BadSettings, match="write SETTING=VALUE"):
        scale.build_sweep(["threads"], "exactly_once")
