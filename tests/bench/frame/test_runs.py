"""Measurements become medians, ratios and cells."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from worker.bench.frame.runs import Column, Runs, Table

NUMBERS = st.lists(st.one_of(st.floats(0.1, 1e6), st.just(math.nan)), min_size=1)


@given(NUMBERS)
def test_a_median_lies_between_minimum_and_maximum(values: list[float]) -> None:
    """A value that was not measured does not count."""
    runs = Runs()
    for value in values:
        runs.add("row", rate=value)
    known = [value for value in values if not math.isnan(value)]
    assert runs.values("row", "rate") == known
    assert min(known) <= runs.median("row", "rate") <= max(known) if known else math.isnan(runs.median("row", "rate"))


def test_a_table_has_medians_ranges_and_ratios() -> None:
    """A cell is empty where nothing was measured; thousands are separated."""
    runs = Runs()
    for rate in (1_000, 3_000, 2_000):
        runs.add("fast", rate=rate, lost=1)
    runs.add("slow", rate=4, cosine=0.5)
    columns = (
        Column("rate", "rate"), Column("range", "rate", kind="range"), Column("ratio", "rate", 1, kind="ratio"),
        Column("cosine", "cosine", 2),
    )  # fmt: skip
    cells = Table(title="t", runs=runs, columns=columns, reference="slow").cells()
    assert cells == [["fast", "2,000", "1,000 to 3,000", "500.0", ""], ["slow", "4", "4 to 4", "1.0", "0.50"]]
    assert math.isnan(runs.ratio("fast", "none", "rate"))
    assert runs.total("lost") == 3
    assert runs.as_json()["slow"] == {"rate": [4], "lost": [], "cosine": [0.5]}
