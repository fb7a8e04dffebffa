"""A comparison of seconds, on sentences made from a few words: to see that all of it works, not who is better."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from worker.training.comparison.plan import ComparisonPlan

if TYPE_CHECKING:
    from pathlib import Path

_GOOD = ("lovely", "great", "kind", "delightful")
_BAD = ("awful", "rude", "broken", "dreadful")
_THINGS = ("film", "day", "book", "song", "trip", "meal", "game", "talk")
_NAMES = ("Ada", "Grace", "Marie", "Alan", "Kurt", "Emmy", "Carl", "Lise")
_PLACES = ("Paris", "London", "Oslo", "Rome", "Vienna", "Berlin", "Madrid", "Bern")


def small_plan(directory: Path, cache: Path, encoder: str) -> ComparisonPlan:
    """Write the sentences into a directory, and return a plan for them; raises `BadSettings` where they cannot be written."""
    from worker.model.checkpoint.atomic_files import translate_write_errors  # noqa: PLC0415  the model's room is heavy

    moods, people = directory / "moods.jsonl", directory / "people.conll"
    labelled = [
        json.dumps({"text": f"the {thing} was {word}", "label": label})
        for words, label in ((_GOOD, "positive"), (_BAD, "negative"))
        for word in words
        for thing in _THINGS
    ]
    tagged = [f"{name}\tB-PER\nlives\tO\nin\tO\n{place}\tB-LOC\n" for name in _NAMES for place in _PLACES]
    with translate_write_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        moods.write_text("\n".join(labelled))
        people.write_text("\n".join(tagged))
    cut: dict[str, Any] = {"dev_share": 0.2, "test_share": 0.2}
    return ComparisonPlan(
        encoder=encoder,
        rich={"train": [moods.absolute()], **cut},
        scarce={"train": [people.absolute()], **cut},
        data_directory=directory,
        cache=cache,
        shares=(0.25, 1.0),
        seeds=(0, 1),
        steps=4,
        batch_texts=8,
        head_rate=1e-2,
    )
