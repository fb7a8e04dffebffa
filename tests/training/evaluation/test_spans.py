"""Scores of entities, compared with those of seqeval."""

from __future__ import annotations

import unicodedata
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.model.outputs import bio
from worker.records import PredictedEntity
from worker.training.data.examples import Span, TaggedText
from worker.training.evaluation import mistakes, report
from worker.training.evaluation.bootstrap import wilson
from worker.training.evaluation.spans import Score, SpanGroup, group_spans, split_handle

LABELS = bio.bio_labels(["LOC", "PER"])
# True and found labels of the words of some texts.
PATHS = st.lists(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), max_size=6), max_size=6)


def entity(kind: str, start: int, end: int) -> PredictedEntity:
    """Return an entity."""
    return PredictedEntity(kind, "", start, end, 0.9, "ner")


def scores(tagged: list[TaggedText], found: list[list[PredictedEntity]]) -> dict[str, Score]:
    """Return the score of each group."""
    return {group.name: group.score() for group in group_spans(tagged, found)}


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
def test_an_entity_is_right_only_with_its_type_and_both_ends(
    gold: list[Span], found: list[PredictedEntity], expected: Score
) -> None:
    """The score is 0 if nothing is found or nothing is true."""
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
    assert mistakes.find_entity_mistakes([gold], found, 5) == []
    measured = report.build_entity_report(
        "ner", "gold", [gold], found, temperature=1, options=report.EvaluationOptions(num_draws=10)
    )
    assert [bin_.accuracy for bin_ in measured.reliability] == [1]


def test_an_entity_counts_in_its_own_text_only() -> None:
    """The same span of another text is wrong."""
    tagged = [TaggedText("Ada", (Span("PER", 0, 3),)), TaggedText("Ada", ())]
    assert scores(tagged, [[], [entity("PER", 0, 3)]])["all"] == Score(0, 0, 0, 1)


def seqeval_entities(path: list[str]) -> set[tuple[str, int, int]]:
    """Return the entities of IOB labels as seqeval's `get_entities`: an `I-X` after anything but X begins an entity, too."""
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
    """Return a valid path: an `I-` that would begin an entity becomes `B-`."""
    result: list[str] = []
    for label in path:
        is_inside = label.startswith("I-") and result and result[-1][1:] == label[1:]
        result.append(label if is_inside or label == "O" else f"B{label[1:]}")
    return result


@given(PATHS)
def test_scores_are_those_of_seqeval_on_the_labels(texts: list[list[tuple[str, str]]]) -> None:
    """The scores are micro-averaged, over all entities and by type; each word has one character."""
    true = [valid([word for word, _ in words]) for words in texts]
    said = [valid([word for _, word in words]) for words in texts]
    tagged = [TaggedText("x" * len(path), tuple(Span(*entity) for entity in bio.entities(path))) for path in true]
    found = scores(tagged, [[entity(*own_entity) for own_entity in bio.entities(path)] for path in said])
    for name in set(found) & {"all", "LOC", "PER"}:
        wanted, given_ = (
            {(n, entity) for n, path in enumerate(side) for entity in seqeval_entities(path) if name in ("all", entity[0])}
            for side in (true, said)
        )
        precision, recall = len(wanted & given_) / max(1, len(given_)), len(wanted & given_) / max(1, len(wanted))
        f1 = 2 * precision * recall / (precision + recall) if wanted & given_ else 0
        assert astuple(found[name]) == pytest.approx((precision, recall, f1, len(wanted)))


def test_handles_are_counted_as_one_entity_as_two_and_not_at_all() -> None:
    """Each way is a group."""
    tagged = [TaggedText("hey @ada in Rome", (Span("PER", 4, 8), Span("LOC", 12, 16)))]
    found = {group.name: group for group in group_spans(tagged, [[entity("PER", 4, 8), entity("PER", 5, 8)]])}
    assert list(found) == ["all", "LOC", "PER", "without handles", "handles as two"]
    assert found["all"].counts.tolist() == [[1, 2, 2]]
    assert found["without handles"].counts.tolist() == [[0, 1, 1]]
    assert (found["handles as two"].num_gold, found["handles as two"].num_found) == (3, 2)


@pytest.mark.parametrize(
    ("text", "expected"), [("@ada", [(0, 1), (1, 4)]), ("@", [(0, 1)]), ("Ada", [(0, 3)]), ("@ada B", [(0, 1), (1, 6)])]
)
def test_a_handle_is_split_into_at_and_name(text: str, expected: list[tuple[int, int]]) -> None:
    """A lone `@` stays whole."""
    assert split_handle(text, Span("PER", 0, len(text))) == [Span("PER", *entry) for entry in expected]


def test_wilsons_interval_counts_texts_with_entities() -> None:
    """Texts that differ have a bootstrap interval."""
    alike = SpanGroup("all", np.array([[1, 2, 1]] * 30 + [[0, 0, 0]] * 9)).estimates()
    assert (alike["precision"].low, alike["precision"].high) == wilson(0.5, 30)
    assert (alike["recall"].low, alike["recall"].high) == wilson(1, 30)
    nothing = SpanGroup("all", np.zeros((5, 3), dtype=np.int64)).estimates()["f1"]
    assert nothing.value == 0
    assert np.isnan(nothing.low)
    unsure = SpanGroup("all", np.array([[1, 1, 1], [0, 1, 1]] * 15)).estimates()["f1"]
    assert unsure.low < unsure.value == 0.5 < unsure.high
