"""The style of plots: the claim is the title, and every bar lies inside its axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.results import BENCHMARKS, read_png_start
from worker.bench.frame.runs import Column, Runs, Table

if TYPE_CHECKING:
    from pathlib import Path

figures = pytest.importorskip("matplotlib.figure")
plot = pytest.importorskip("worker.bench.frame.plot")
VALUES = st.lists(st.one_of(st.floats(0.01, 1e6), st.just(math.nan)), min_size=1, max_size=6)


def assert_inside(axes: Any) -> None:
    """Assert that every bar and whisker lies inside the limits."""
    left, right = sorted(axes.get_xlim())
    assert all(left <= bar.get_x() + bar.get_width() <= right for bar in axes.patches)
    assert all(left <= x <= right for line in axes.get_lines() for x, _ in line.get_xydata())


@given(VALUES)
@settings(max_examples=30)
def test_every_bar_is_inside_the_axes(values: list[float]) -> None:
    """The slowest and the fastest round, too; a row that was not measured has no bar."""
    runs = Runs()
    for number, value in enumerate(values):
        runs.add(str(number), rate=value)
        runs.add(str(number), rate=value / 2)
    axes = figures.Figure().subplots()
    plot.draw_bars(axes, Table(title="t", runs=runs, columns=()), Column("rate", "rate"))
    assert len(axes.patches) == sum(not math.isnan(value) for value in values)
    assert_inside(axes)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_has_a_plot_with_its_claim(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each panel is one drawn column of a table."""
    drawn: list[Any] = []

    def keep(**options: Any) -> Any:
        drawn.append(figures.Figure(**options))
        return drawn[-1]

    monkeypatch.setattr(plot, "Figure", keep)
    results, report = BENCHMARKS[name]
    built = report(results())
    plot.draw(built, tmp_path / "plot.png")
    assert read_png_start(tmp_path / "plot.png") == b"\x89PNG"
    assert drawn[0].get_suptitle() == built.claim
    assert len(drawn[0].axes) == sum(bool(column.drawn_as) for table in built.tables for column in table.columns)
    for axes in drawn[0].axes:
        assert_inside(axes)
