"""The line about what a model is and does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.model.published import publish_family
from worker.model.abilities import describe_abilities
from worker.model.checkpoint import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.model


def test_the_line_names_what_a_model_does_and_does_not(tmp_path: Path) -> None:
    """Family, vectors, heads, longest text and prompt; an encoder has no heads, and a tagger no vectors."""
    publish_family(tmp_path / "encoder", "bert")
    encoder = checkpoint.load(str(tmp_path / "encoder"), prompt="query: ", dimensions=64)
    assert describe_abilities(encoder) == (
        "bert, 3 layers of 128; vectors of 64 dimensions, normalised; no heads; texts of at most 162 tokens; prompt 'query: '"
    )
    publish_family(tmp_path / "tagger", "distilbert", "ForTokenClassification", labels=["O", "PER"])
    tagger = describe_abilities(checkpoint.load(str(tmp_path / "tagger")))
    assert tagger == "distilbert, 3 layers of 128; no vectors; heads tagger (ner: O, PER); texts of at most 162 tokens; no prompt"
