"""The command: tables to standard output, figures to files, a mistake in one line before anything runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from tests.bench.results import result
from worker.cli import app
from worker.commands.bench import engine as bench_engine
from worker.errors import BadSettings
from worker.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_figures_go_to_the_terminal_and_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batched as the settings' defaults say."""
    asked: dict[str, Any] = {}

    def run(plan: Any, **options: Any) -> Any:
        asked.update(options, plan=plan)
        return result()

    def refuse(_: Path) -> None:
        raise BadSettings("no network")

    monkeypatch.setattr(bench_engine, "run", run)
    monkeypatch.setattr(bench_engine, "rated_sentences", refuse)
    path = tmp_path / "run.json"
    shown = CliRunner().invoke(app, ["bench", "engine", "--quick", "--threads", "3", "--output", str(path)])
    assert shown.exit_code == 0, shown.output
    assert "ours, compiled" in shown.stdout
    assert "without the real corpus: no network" in shown.stderr
    assert json.loads(path.read_bytes())["summary"]["vs_best_padded"] == 2.0
    assert (asked["plan"].is_quick, asked["threads"], asked["texts"]) == (True, 3, [])
    assert asked["batching"].max_batch_tokens == Settings.model_fields["max_batch_tokens"].default


@pytest.mark.parametrize("flag", ["--output", "--plot"])
def test_a_file_that_cannot_be_written_is_known_before_anything_runs(flag: str, tmp_path: Path) -> None:
    """It would be a pity about the minutes."""
    done = CliRunner().invoke(app, ["bench", "engine", flag, str(tmp_path / "nowhere" / "file")])
    assert isinstance(done.exception, BadSettings)


def test_a_picture_needs_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That too is known before."""
    monkeypatch.setattr(bench_engine, "find_spec", lambda _: None)
    done = CliRunner().invoke(app, ["bench", "engine", "--plot", str(tmp_path / "run.png")])
    assert isinstance(done.exception, BadSettings)
    assert "gist-stream[bench]" in str(done.exception)
