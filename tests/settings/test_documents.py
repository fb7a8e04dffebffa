"""The documents that are generated from the settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from worker.settings import documents
from worker.settings.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_documents_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    """`.env.example` and docs/reference/settings.md agree with the declared settings."""
    assert documents.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_every_setting_is_in_both_documents_once() -> None:
    """Each document names every setting once, by its variable."""
    variables = [f"GIST_{name.upper()}" for name in Settings.model_fields]
    assert re.findall(r"^#(GIST_\w+)=", documents.build_env_example(), re.MULTILINE) == variables
    page = (documents.ROOT / "docs" / "reference" / "settings.md").read_text()
    assert re.findall(r"^### `(\w+)`$", page, re.MULTILINE) == variables


def test_groups_and_first_settings_name_settings() -> None:
    """A setting that is renamed is renamed in the groups and in the list of first settings, too."""
    assert {*documents.GROUPS, *documents.FIRST} <= set(Settings.model_fields)
    assert next(iter(documents.GROUPS)) == next(iter(Settings.model_fields))


def test_page_shows_default_and_allowed_values() -> None:
    """The page has the default, the choices and the bounds of a setting."""
    page = documents.build_page("<!-- all -->\n<!-- /all -->\n")
    assert "### `GIST_DELIVERY`\n\nDefault: `at_least_once`. Values: `at_least_once`, `exactly_once`.\n\n" in page
    assert "### `GIST_MAX_BATCH_TOKENS`\n\nDefault: `0`. Values: 0 to 1,048,576.\n\n" in page
    assert "### `GIST_SASL_PASSWORD`\n\nUnset by default.\n\n" in page


def test_drift_is_reported_and_repaired(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing file and an old block are reported by name; writing leaves the prose around the blocks as it is."""
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    page = tmp_path / "docs" / "reference" / "settings.md"
    page.parent.mkdir(parents=True)
    page.write_text("before\n<!-- first -->\n<!-- /first -->\nbetween\n<!-- all -->\nold\n<!-- /all -->\nafter\n")
    assert documents.main(["--check"]) == 1
    reported = capsys.readouterr().err
    assert ".env.example is not current" in reported
    assert "settings.md is not current" in reported
    assert documents.main(["--write"]) == 0
    assert documents.main(["--check"]) == 0
    text = page.read_text()
    assert text.startswith("before\n<!-- first -->\n| setting | default | meaning |")
    assert text.endswith("\n<!-- /all -->\nafter\n")
    assert "old" not in text.split("\n")
