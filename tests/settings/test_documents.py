"""The documents made from the settings are current, and drift is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from worker.settings import Settings, documents

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]


def test_the_documents_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    """`.env.example` and the README's table."""
    assert documents.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_every_setting_is_in_both() -> None:
    """By the name that one sets."""
    example, readme = (ROOT / ".env.example").read_text(), (ROOT / "README.md").read_text()
    for name in Settings.model_fields:
        assert f"#GIST_{name.upper()}=" in example
        assert f"| `GIST_{name.upper()}` |" in readme


def test_drift_is_noticed_and_mended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is missing, and a table that is old."""
    (tmp_path / "worker" / "settings").mkdir(parents=True)
    monkeypatch.setattr(documents, "__file__", str(tmp_path / "worker" / "settings" / "documents.py"))
    (tmp_path / "README.md").write_text("before\n<!-- settings -->\nold\n<!-- /settings -->\nafter\n")
    assert documents.main(["--check"]) == 1
    assert ".env.example is not current" in capsys.readouterr().err
    assert documents.main(["--write"]) == 0
    assert documents.main(["--check"]) == 0
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("before\n<!-- settings -->\n| variable |")
    assert text.endswith("|\n<!-- /settings -->\nafter\n")
