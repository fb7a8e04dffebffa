"""The command line of the benchmarks."""

from __future__ import annotations

from typer.testing import CliRunner

from worker.cli import app


def test_every_benchmark_is_named() -> None:
    """With what it measures."""
    shown = CliRunner().invoke(app, ["bench", "--help"], env={"COLUMNS": "120"}).output
    for name in ("stream", "delivery", "engine", "encodings"):
        assert f" {name} " in shown
