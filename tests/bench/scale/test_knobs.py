"""The knobs."""

from __future__ import annotations

from tests.bench.scale.test_scale_report import results
from worker.bench.scale import knobs
from worker.settings import read


def test_one_knob_is_turned_at_a_time_between_two_usual_runs() -> None:
    """To settings that a worker takes."""
    ways = knobs.ways("at_least_once", is_quick=False)
    assert ways[0] == ways[-1]
    assert len({it.name for it in ways}) == len(ways) - 1
    for it in ways:
        read(dict(it.told))
    by_name = {it.name: it for it in ways}
    assert by_name["partitions 32"].num_partitions == 32
    assert by_name["replicas 2"].num_replicas == 2
    assert by_name["max_in_flight_tokens 8192"].told == {"max_in_flight_tokens": 8192, "resume_in_flight_tokens": 4096}
    assert len(knobs.ways("at_least_once", is_quick=True)) < len(ways)


def test_the_table_is_relative_to_the_usual_way() -> None:
    """A line each."""
    lines = knobs.markdown(results()).splitlines()
    assert lines[2] == "| 1 replica, 8 partitions | 1,000 | 1.05 | 20, 60 | 700 |"
    assert len(lines) == 6
