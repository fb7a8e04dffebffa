"""Samples become figures: medians with their range, ratios, fill."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.bench.results import panel
from worker.bench.engine.measures import Spread


@given(st.lists(st.floats(0.1, 1e6), min_size=1))
def test_a_median_stands_between_the_extremes(values: list[float]) -> None:
    """For any rounds."""
    spread = Spread.of(values)
    assert spread.min <= spread.median <= spread.max
    assert {spread.min, spread.max} <= set(values)


def test_rates_are_medians_of_the_rounds_in_messages_of_the_mean_length() -> None:
    """Not of the length of those texts that a contestant happened to get."""
    chosen = panel().chosen
    assert chosen is not None
    assert panel().messages_per_s(chosen) == Spread(100.0, 80.0, 120.0)
    assert chosen.fill == 0.5


def test_ratios_are_of_medians_and_need_both() -> None:
    """Who has no numbers has no ratio."""
    it = panel()
    assert it.ratio(it.chosen, it.find("best")) == 2.0
    assert it.ratio(it.chosen, it.find("nobody")) is None
    assert it.roofline_fraction(it.chosen) == 0.5


def test_plain_values_hold_every_contestant() -> None:
    """Those without numbers with their reason."""
    plain = json.loads(json.dumps(panel().as_json()))
    by_name = {it["name"]: it for it in plain["contestants"]}
    assert by_name["nobody"]["missing"] == "not here: openvino is not installed"
    assert by_name["ours, compiled"]["messages_per_s"] == {"median": 100.0, "min": 80.0, "max": 120.0}
    assert by_name["ours, compiled"]["cold_start_s"] == 20.0
    assert len(by_name["ours, compiled"]["samples"]) == 3
