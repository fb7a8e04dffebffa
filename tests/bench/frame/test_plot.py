"""The style of plots: every point lies inside its axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench.backfill.test_backfill_results import build_results as build_backfill
from tests.bench.delivery.test_delivery_results import build_results as build_delivery
from tests.bench.engine_results import build_results as build_engine
from tests.bench.scale.test_scale_results import build_results as build_scale
from tests.bench.stream.test_stream_results import build_results as build_stream
from worker.bench.backfill.report import build_report as report_backfill
from worker.bench.delivery.report import build_report as report_delivery
from worker.bench.engine.report import build_report as report_engine
from worker.bench.frame import plot
from worker.bench.scale.report import build_report as report_scale
from worker.bench.stream.report import build_report as report_stream

if TYPE_CHECKING:
    from pathlib import Path

    from worker.bench.frame.report import Report

figures = pytest.importorskip("matplotlib.figure")
VALUES = st.lists(st.one_of(st.floats(0.01, 1e6), st.just(math.nan)), min_size=1, max_size=6)
REPORTS = (
    report_stream(build_stream()),
    report_delivery(build_delivery()),
    report_backfill(build_backfill()),
    report_scale(build_scale()),
    report_engine(build_engine()),
)


def assert_inside(axes: Any) -> None:
    """Assert that every point and bar lies inside the limits."""
    (left, right), (bottom, top) = sorted(axes.get_xlim()), sorted(axes.get_ylim())
    for line in axes.get_lines():
        for x, y in line.get_xydata():
            # A horizontal reference has x from 0 to 1 in axes coordinates.
            assert bottom <= y <= top
            assert left <= x <= right or line.get_linestyle() == "--"
    for bar in axes.patches:
        assert left <= bar.get_x() + bar.get_width() <= right


@given(VALUES, st.booleans(), st.sampled_from([None, 1.0, 1e4]))
@settings(max_examples=30)
def test_every_point_of_a_line_is_inside_the_axes(values: list[float], is_log: bool, reference: float | None) -> None:  # noqa: FBT001
    """The limits follow the data and the reference; a value that was not measured is skipped."""
    axes = figures.Figure().subplots()
    lines = [plot.Line(label="a", x=range(len(values)), y=values)]
    plot.draw_lines(axes, lines, title="t", x_label="x", y_label="y", is_log=is_log, reference=reference)
    assert_inside(axes)


@given(VALUES)
@settings(max_examples=30)
def test_every_bar_is_inside_the_axes(values: list[float]) -> None:
    """The slowest and the fastest round, too."""
    axes = figures.Figure().subplots()
    bars = [plot.Bar(name=str(n), value=value, low=value / 2, high=value * 2) for n, value in enumerate(values)]
    plot.draw_bars(axes, bars, title="t", unit="u")
    assert_inside(axes)


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.title)
def test_each_benchmark_has_a_plot_with_its_claim(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The title is the claim, and all axes hold their points."""
    saved: list[Any] = []
    save = plot.save

    def keep(figure: Any, path: Path) -> None:
        saved.append(figure)
        save(figure, path)

    monkeypatch.setattr(plot, "save", keep)
    assert report.draw is not None
    report.draw(report, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert saved[0].get_suptitle() == report.claim
    for axes in saved[0].axes:
        assert_inside(axes)
