"""Entities are counted as seqeval counts them: whole, by type, each once."""

from __future__ import annotations

import unicodedata
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.outputs import bio
from worker.records import Entity
from worker.training.data.examples import Span, TaggedText
from worker.training.evaluation import mistakes, report
from worker.training.evaluation.bootstrap import wilson
from worker.training.evaluation.spans import Score, SpanGroup, groups, halves

LABELS = bio.bio_labels(["LOC", "PER"])
# True and found labels of the words of some texts.
PATHS = st.lists(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), max_size=6), max_size=6)


def entity(kind: str, start: int, end: int) -> Entity:
    """Return an entity."""
    return Entity(kind, "", start, end, 0.9, "ner")


def scores(tagged: list[TaggedText], found: list[list[Entity]]) -> dict[str, Score]:
    """Return the score of each group."""
    return {it.name: it.score() for it in groups(tagged, found)}


@pytest.mark.parametrize(
    ("gold", "found", "expected"),
    [
        ([Span("PER", 0, 3)], [entity("PER", 0, 3)], Score(1, 1, 1, 1)),
        ([Span("PER", 0, 3)], [entity("LOC", 0, 3)], Score(0, 0, 0, 1)),
        ([Span("PER", 0, 3)], [entity("PER", 0, 2)], Score(0, 0, 0, 1)),
        ([Span("PER", n, n + 1) for n in range(4)], [entity("PER", n, n + 1) for n in range(2)], Score(1, 0.5, 2 / 3, 4)),
        ([Span("PER", 0, 3)], [entity("PER", 0, 3)] * 2, Score(1, 1, 1, 1)),
        ([], [], Score(0, 0, 0, 0)),
        ([], [entity("PER", 0, 3)], Score(0, 0, 0, 0)),
    ],
)
def test_span_and_type_must_both_be_right(gold: list[Span], found: list[Entity], expected: Score) -> None:
    """Half right is wrong; nothing found or nothing there is 0."""
    assert scores([TaggedText("some text", tuple(gold))], [found])["all"] == expected


@pytest.mark.parametrize("text", ["in Bogota\u0301.", "in Bogota\u0323\u0301.", "in Bogota\u20dd", "in Bogota\u0903 x"])
@pytest.mark.parametrize("gold_has_marks", [False, True])
@pytest.mark.parametrize("found_has_marks", [False, True])
def test_marks_of_the_last_character_do_not_matter(text: str, *, gold_has_marks: bool, found_has_marks: bool) -> None:
    """An entity is right with or without the combining marks of its last character, in every figure."""
    with_marks = max(place for place, character in enumerate(text) if unicodedata.category(character).startswith("M")) + 1
    gold = TaggedText(text, (Span("LOC", 3, with_marks if gold_has_marks else 9),))
    found = [[entity("LOC", 3, with_marks if found_has_marks else 9)]]
    assert scores([gold], found)["all"] == Score(1, 1, 1, 1)
    assert mistakes.of_entities([gold], found, 5) == []
    told = report.of_entities("ner", "gold", [gold], found, temperature=1, options=report.EvaluationOptions(num_draws=10))
    assert [it.accuracy for it in told.reliability] == [1]


def test_the_same_place_of_another_text_is_another() -> None:
    """An entity is found in its text or not at all."""
    tagged = [TaggedText("Ada", (Span("PER", 0, 3),)), TaggedText("Ada", ())]
    assert scores(tagged, [[], [entity("PER", 0, 3)]])["all"] == Score(0, 0, 0, 1)


def seqeval_entities(path: list[str]) -> set[tuple[str, int, int]]:
    """Return what seqeval's `get_entities` does of IOB labels: an `I-X` after anything but X begins an entity too."""
    found, start, kind = set(), 0, ""
    for place, label in enumerate([*path, "O"]):
        prefix, _, own = label.partition("-")
        if kind and (prefix != "I" or own != kind):
            found.add((kind, start, place - 1))
            kind = ""
        if not kind and prefix != "O":
            start, kind = place, own
    return found


def valid(path: list[str]) -> list[str]:
    """Return a path as our decoding makes it: what would begin inside, begins."""
    result: list[str] = []
    for label in path:
        is_inside = label.startswith("I-") and result and result[-1][1:] == label[1:]
        result.append(label if is_inside or label == "O" else f"B{label[1:]}")
    return result


@given(PATHS)
def test_scores_are_those_of_seqeval_on_the_labels(texts: list[list[tuple[str, str]]]) -> None:
    """Micro-averaged and by type, on texts whose words are a character each."""
    true = [valid([it for it, _ in words]) for words in texts]
    said = [valid([it for _, it in words]) for words in texts]
    tagged = [TaggedText("x" * len(path), tuple(Span(*it) for it in bio.entities(path))) for path in true]
    found = scores(tagged, [[entity(*it) for it in bio.entities(path)] for path in said])
    for name in set(found) & {"all", "LOC", "PER"}:
        wanted, given_ = (
            {(n, it) for n, path in enumerate(side) for it in seqeval_entities(path) if name in ("all", it[0])}
            for side in (true, said)
        )
        precision, recall = len(wanted & given_) / max(1, len(given_)), len(wanted & given_) / max(1, len(wanted))
        f1 = 2 * precision * recall / (precision + recall) if wanted & given_ else 0
        assert astuple(found[name]) == pytest.approx((precision, recall, f1, len(wanted)))


def test_handles_are_counted_three_ways() -> None:
    """As one entity, not at all, and as the corpora do that see two."""
    tagged = [TaggedText("hey @ada in Rome", (Span("PER", 4, 8), Span("LOC", 12, 16)))]
    found = {it.name: it for it in groups(tagged, [[entity("PER", 4, 8), entity("PER", 5, 8)]])}
    assert list(found) == ["all", "LOC", "PER", "without handles", "handles as two"]
    assert found["all"].counts.tolist() == [[1, 2, 2]]
    assert found["without handles"].counts.tolist() == [[0, 1, 1]]
    assert (found["handles as two"].num_gold, found["handles as two"].num_found) == (3, 2)


@pytest.mark.parametrize(
    ("text", "expected"), [("@ada", [(0, 1), (1, 4)]), ("@", [(0, 1)]), ("Ada", [(0, 3)]), ("@ada B", [(0, 1), (1, 6)])]
)
def test_a_handle_has_two_halves(text: str, expected: list[tuple[int, int]]) -> None:
    """The at and the rest; a lone at has one."""
    assert halves(text, Span("PER", 0, len(text))) == [Span("PER", *it) for it in expected]


def test_intervals_come_from_drawing_texts() -> None:
    """Different texts decide by their draws; texts that are all alike by their number."""
    alike = SpanGroup("all", np.array([[1, 2, 1]] * 30 + [[0, 0, 0]] * 9)).estimates()
    assert (alike["precision"].low, alike["precision"].high) == wilson(0.5, 30)
    assert (alike["recall"].low, alike["recall"].high) == wilson(1, 30)
    nothing = SpanGroup("all", np.zeros((5, 3), dtype=np.int64)).estimates()["f1"]
    assert nothing.value == 0
    assert np.isnan(nothing.low)
    unsure = SpanGroup("all", np.array([[1, 1, 1], [0, 1, 1]] * 15)).estimates()["f1"]
    assert unsure.low < unsure.value == 0.5 < unsure.high
