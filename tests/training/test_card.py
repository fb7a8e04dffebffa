"""The model card: a section of scores has scores in it."""

from __future__ import annotations

from typing import Any

import pytest

from worker.model.heads.head_config import HeadConfig
from worker.training.card import card

HEADS = [HeadConfig(name=name, task="classify", labels=("no", "yes"), layers=(1,), hidden_size=0) for name in ("mood", "topic")]
ACCURACY = {"held out": {"accuracy": 0.9, "majority": 0.5, "texts": 30}}


def card_with(scores: dict[str, Any]) -> str:
    """Return the card of a run with these scores."""
    training = {"configuration": {"training": {"strategy": "frozen"}}, "data": {"a/b.csv": "0" * 64}, "scores": scores}
    return card("mine", "encoder", HEADS, training)


@pytest.mark.parametrize("scores", [{}, {"float32": {}}, {"float32": {"mood": {}}, "bfloat16": {"mood": {}}}])
def test_without_scores_there_is_no_section_of_scores(scores: dict[str, Any]) -> None:
    """This holds before the scores are measured, and if no text was held out."""
    text = card_with(scores)
    assert "Scores" not in text
    assert "###" not in text
    assert ("Without a score, because no text was held out: mood." in text) is any(scores.values())
    assert text.endswith("\n")


def test_a_head_without_a_score_is_named_beside_one_that_has_some() -> None:
    """Each number format has its section, and the head is named once."""
    text = card_with({dtype: {"mood": ACCURACY, "topic": {}} for dtype in ("float32", "bfloat16")})
    assert text.count("| held out | 0.900 | [0.744, 0.965] | 0.500 | 30 |") == 2
    assert text.count("## Scores on held-out texts, as served") == 1
    assert text.count("Without a score, because no text was held out: topic.") == 1
    sections = text.partition("## Scores")[2].split("###")[1:]
    assert [section.split()[0] for section in sections] == ["float32", "bfloat16"]
    assert all("|" in section for section in sections)
