"""Samples become figures: medians with their range, ratios, fill."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.bench.engine_results import build_panel
from worker.bench.engine.measures import Spread


@given(st.lists(st.floats(0.1, 1e6), min_size=1))
def test_a_median_lies_between_minimum_and_maximum(values: list[float]) -> None:
    """The extremes are among the values."""
    spread = Spread.summarize(values)
    assert spread.min <= spread.median <= spread.max
    assert {spread.min, spread.max} <= set(values)


def test_rates_are_medians_in_texts_of_the_mean_length() -> None:
    """The lengths of a candidate's own texts do not matter."""
    chosen = build_panel().chosen
    assert chosen is not None
    assert build_panel().messages_per_s(chosen) == Spread(100.0, 80.0, 120.0)
    assert chosen.fill == 0.5


def test_a_ratio_needs_figures_of_both_entries() -> None:
    """A missing candidate has no ratio and is never the best baseline."""
    panel = build_panel()
    assert panel.ratio(panel.chosen, panel.find("best")) == 2.0
    assert panel.ratio(panel.chosen, panel.find("absent")) is None
    assert panel.roofline_fraction(panel.chosen) == 0.5
    assert panel.best_baseline is panel.find("best")


def test_plain_values_hold_every_candidate() -> None:
    """A missing candidate has its reason."""
    plain = json.loads(json.dumps(build_panel().as_json()))
    by_name = {candidate["name"]: candidate for candidate in plain["candidates"]}
    assert by_name["absent"]["missing"] == "unavailable: openvino is not installed"
    chosen = by_name["GIST Stream, compiled"]
    assert chosen["messages_per_s"] == {"median": 100.0, "min": 80.0, "max": 120.0}
    assert (chosen["cold_start_s"], len(chosen["samples"])) == (20.0, 3)
