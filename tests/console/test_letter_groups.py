"""The groups of dead letters and their advice."""

from __future__ import annotations

import pytest

from worker.console.letter_groups import group_letters


@pytest.mark.parametrize(
    ("reason", "settings"),
    [
        ("the record has no key, and GIST_ID_FROM=key takes the id from the key", "change GIST_ID_FROM, and"),
        ("there is no `text`", "change GIST_TEXT_FIELD, GIST_ID_FROM, GIST_ENVELOPE or GIST_EMPTY_TEXT, and"),
    ],
)
def test_the_advice_names_the_setting_of_the_reason(reason: str, settings: str) -> None:
    """If the reason names no setting, the advice names those of the input."""
    (group,) = group_letters([{"stage": "decode", "error": "InvalidRecord", "message": reason}])
    assert settings in group["advice"]
