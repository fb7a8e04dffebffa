"""Examples of mistakes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.records import PredictedEntity
from worker.training.data.examples import Span, TaggedText
from worker.training.evaluation.labels import build_predictions
from worker.training.evaluation.mistakes import Mistake, find_entity_mistakes, find_label_mistakes, one_line


def test_the_most_confident_wrong_labels_come_first() -> None:
    """Right labels are left out, and the count is the limit."""
    scores = [{"no": 1 - p, "yes": p} for p in (0.625, 0.875, 0.25, 0.75)]
    found = find_label_mistakes(build_predictions(("no", "yes"), ["no", "no", "no", "no"], scores), ["a", "b", "c", "d"], 2)
    assert found == [Mistake("no", "yes", 0.875, "b"), Mistake("no", "yes", 0.75, "d")]


def test_an_entity_with_a_wrong_end_is_wrong_and_missed() -> None:
    """A right entity is in neither list."""
    tagged = [TaggedText("Ada Byron in Rome", (Span("PER", 0, 9), Span("LOC", 13, 17))), TaggedText("so May it be", ())]
    found = [
        [PredictedEntity("PER", "Ada", 0, 3, 0.5, "ner"), PredictedEntity("LOC", "Rome", 13, 17, 0.9, "ner")],
        [PredictedEntity("PER", "May", 3, 6, 0.75, "ner")],
    ]
    assert find_entity_mistakes(tagged, found, 5) == [
        Mistake(None, "PER", 0.75, "so [May] it be"),
        Mistake(None, "PER", 0.5, "[Ada] Byron in Rome"),
        Mistake("PER", None, None, "[Ada Byron] in Rome"),
    ]
    assert find_entity_mistakes(tagged, found, 0) == []


def test_missed_entities_are_spread_over_the_texts() -> None:
    """They are not only from the first texts."""
    tagged = [TaggedText(f"{number}", (Span("LOC", 0, 1),)) for number in range(9)]
    assert [mistake.text for mistake in find_entity_mistakes(tagged, [[]] * 9, 3)] == ["[0]", "[3]", "[6]"]


@given(text=st.text(max_size=300), cuts=st.tuples(st.integers(0, 300), st.integers(0, 300)))
def test_an_example_is_one_printable_line(text: str, cuts: tuple[int, int]) -> None:
    """The line has at most 96 characters and contains the entity."""
    start, end = (min(cut, len(text)) for cut in sorted(cuts))
    (around,) = find_entity_mistakes([TaggedText(text, (Span("PER", start, end),))], [[]], 1)
    for line in (one_line(text), around.text):
        assert line.isprintable()
        assert len(line) <= 96
    assert f"[{one_line(text[start:end])}]" in around.text or len(one_line(text[start:end])) > 90
