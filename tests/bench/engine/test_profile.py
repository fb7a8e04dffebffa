"""The profile of a forward pass: shares of the whole."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from worker.bench.engine import profile
from worker.bench.engine.plan import GIST_MODEL
from worker.bench.frame.runs import Runs
from worker.cli import app
from worker.errors import BadModel
from worker.model.backends.native import build
from worker.model.backends.native.build import BackendUnavailable
from worker.model.checkpoint import checkpoint
from worker.model.encoder.quantization import passes
from worker.settings import DEFAULT_MODEL

pytestmark = pytest.mark.model
TEXTS = ["Ada Lovelace moved to London.", "Awful. I hated every minute.", "ok"] * 8


def test_shares_are_of_the_whole() -> None:
    """The shares add up to 100 %, and each stage has one."""
    loaded, runs = checkpoint.load(DEFAULT_MODEL), Runs()
    profile.profile_model("model", loaded, list(passes(loaded.tokenizer.encode(TEXTS))), runs, threads=2)
    assert runs.names[0].startswith("model, float32 compiled (")
    for run in runs.runs:
        assert set(run.figures) == set(profile.STAGES)
        assert sum(run.figures.values()) == pytest.approx(100)
        assert all(share > -1 for share in run.figures.values())
        assert all(run.figures[stage] > 0 for stage in ("products", "attention", "norms", "heads"))


def test_the_command_shows_both_models() -> None:
    """Each model has a row or more."""
    shown = CliRunner().invoke(app, ["bench", "profile", "--threads", "2", "--count", "4"])
    assert shown.exit_code == 0, shown.output
    assert GIST_MODEL.split(",")[0] in shown.stdout
    assert "MiniLM-L6" in shown.stdout
    assert shown.stdout.count("2 threads") >= 2


def test_a_machine_without_the_native_engine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the reason."""

    def refuse(*_given: object, **_options: object) -> None:
        raise BackendUnavailable("no compiler")

    monkeypatch.setattr(build, "load_fastest", refuse)
    outcome = CliRunner().invoke(app, ["bench", "profile", "--count", "4"])
    assert isinstance(outcome.exception, BadModel)
    assert "no compiler" in str(outcome.exception)
