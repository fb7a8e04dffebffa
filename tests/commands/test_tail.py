"""The start of `gist-stream tail`."""

from __future__ import annotations

from typing import Any

import pytest

from worker.commands import tail
from worker.settings import read


@pytest.mark.parametrize(
    ("given", "is_shown"),
    [({"text_field": "body"}, True), ({}, False), ({"text_field": "body", "output_layout": "enriched"}, False)],
)
def test_a_field_of_the_text_has_no_effect_in_the_layout_without_a_text(
    given: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *, is_shown: bool
) -> None:
    """One line says so and names the layout that contains the text."""

    async def _end(*_given: object, **_options: object) -> None:
        pass

    monkeypatch.setattr(tail, "_tail", _end)
    tail.tail(read(given))
    shown = "GIST_OUTPUT_LAYOUT=split contain no text, so GIST_TEXT_FIELD" in capsys.readouterr().err
    assert shown == is_shown
