"""The command `bench engine`: tables on standard output, figures in files, errors before anything runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from tests.bench.results import build_engine_results
from worker.bench.engine import run as engine_run
from worker.bench.frame import report
from worker.bench.frame.context import ENGINE_BATCH_TOKENS
from worker.cli import app
from worker.commands.bench import engine
from worker.errors import BadSettings

if TYPE_CHECKING:
    from pathlib import Path


def test_figures_go_to_the_terminal_and_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batching is that of the default settings; a corpus that cannot be fetched is left out."""
    arguments: dict[str, Any] = {}

    def run(plan: Any, **options: Any) -> Any:
        arguments.update(options, plan=plan)
        return build_engine_results()

    def refuse(_: Path) -> None:
        raise BadSettings("no network")

    monkeypatch.setattr(engine_run, "run", run)
    monkeypatch.setattr(engine, "rated_sentences", refuse)
    path = tmp_path / "run.json"
    shown = CliRunner().invoke(app, ["bench", "engine", "--quick", "--threads", "3", "--output", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "GIST Stream, auto (int16)" in shown.stdout
    assert "without the real corpus: no network" in shown.stderr
    assert json.loads(path.read_bytes())["summary"]["vs_best_padded"] == 2.0
    assert (arguments["plan"].is_quick, arguments["threads"], arguments["texts"]) == (True, 3, [])
    assert arguments["batching"]["max_batch_tokens"] == ENGINE_BATCH_TOKENS


@pytest.mark.parametrize("flag", ["--output", "--plot"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(flag: str, tmp_path: Path) -> None:
    """The error names the directory."""
    outcome = CliRunner().invoke(app, ["bench", "engine", flag, str(tmp_path / "nowhere" / "file")])
    assert isinstance(outcome.exception, BadSettings)


def test_a_plot_needs_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra before anything runs."""
    monkeypatch.setattr(report, "find_spec", lambda _: None)
    outcome = CliRunner().invoke(app, ["bench", "engine", "--plot", str(tmp_path / "run.png")])
    assert isinstance(outcome.exception, BadSettings)
    assert "gist-stream[bench]" in str(outcome.exception)
