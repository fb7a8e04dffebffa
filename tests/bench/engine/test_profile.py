"""The profile of a forward pass: shares of the whole."""

from __future__ import annotations

import pytest

from worker.bench.engine import profile
from worker.bench.engine.plan import GIST_MODEL
from worker.commands.bench import profile as command
from worker.errors import BadModel
from worker.model.backends.native import build
from worker.model.backends.native.build import BackendUnavailable
from worker.model.checkpoint import checkpoint
from worker.model.quantization import passes
from worker.settings import DEFAULT_MODEL

pytestmark = pytest.mark.model
TEXTS = ["Ada Lovelace moved to London.", "Awful. I hated every minute.", "ok"] * 8


def test_shares_are_of_the_whole() -> None:
    """The shares add up to 1, and each stage has one."""
    loaded = checkpoint.load(DEFAULT_MODEL)
    found = profile.measure(loaded, list(passes(loaded.tokenizer.encode(TEXTS))), threads=2)
    assert next(iter(found)).startswith("float32 compiled (")
    for shares in found.values():
        assert set(shares) <= set(profile.STAGES)
        assert sum(shares.values()) == pytest.approx(1)
        assert all(share > -0.01 for share in shares.values())
        assert all(shares[stage] > 0 for stage in ("products", "attention", "norms", "heads"))


def test_the_command_shows_both_models(capsys: pytest.CaptureFixture[str]) -> None:
    """Each model has a row or more."""
    command.profile(threads=2, count=4)
    shown = capsys.readouterr().out
    assert GIST_MODEL.split(",")[0] in shown
    assert "MiniLM-L6" in shown
    assert shown.count("2 threads") >= 2


def test_a_machine_without_the_native_engine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the reason."""

    def refuse(*_given: object, **_options: object) -> None:
        raise BackendUnavailable("no compiler")

    monkeypatch.setattr(build, "load_fastest", refuse)
    loaded = checkpoint.load(DEFAULT_MODEL)
    with pytest.raises(BadModel, match="no compiler"):
        profile.measure(loaded, list(passes(loaded.tokenizer.encode(TEXTS))), threads=2)
