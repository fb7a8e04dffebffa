"""Examples of mistakes: the surest first, a line each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.records import Entity
from worker.training.data.examples import Span, TaggedText
from worker.training.evaluation.labels import judged
from worker.training.evaluation.mistakes import Mistake, of_entities, of_labels, one_line


def test_the_surest_wrong_labels_come_first() -> None:
    """Right ones never, and no more than asked for."""
    scores = [{"no": 1 - p, "yes": p} for p in (0.625, 0.875, 0.25, 0.75)]
    found = of_labels(judged(("no", "yes"), ["no", "no", "no", "no"], scores), ["a", "b", "c", "d"], 2)
    assert found == [Mistake("no", "yes", 0.875, "b"), Mistake("no", "yes", 0.75, "d")]


def test_entities_are_found_in_vain_or_missed() -> None:
    """A wrong end is both; what is right is neither."""
    tagged = [TaggedText("Ada Byron in Rome", (Span("PER", 0, 9), Span("LOC", 13, 17))), TaggedText("so May it be", ())]
    found = [
        [Entity("PER", "Ada", 0, 3, 0.5, "ner"), Entity("LOC", "Rome", 13, 17, 0.9, "ner")],
        [Entity("PER", "May", 3, 6, 0.75, "ner")],
    ]
    assert of_entities(tagged, found, 5) == [
        Mistake(None, "PER", 0.75, "so [May] it be"),
        Mistake(None, "PER", 0.5, "[Ada] Byron in Rome"),
        Mistake("PER", None, None, "[Ada Byron] in Rome"),
    ]
    assert of_entities(tagged, found, 0) == []


def test_missed_ones_come_from_all_over() -> None:
    """Not from the first texts alone."""
    tagged = [TaggedText(f"{number}", (Span("LOC", 0, 1),)) for number in range(9)]
    assert [it.text for it in of_entities(tagged, [[]] * 9, 3)] == ["[0]", "[3]", "[6]"]


@given(text=st.text(max_size=300), cuts=st.tuples(st.integers(0, 300), st.integers(0, 300)))
def test_an_example_is_one_line_that_commands_no_terminal(text: str, cuts: tuple[int, int]) -> None:
    """Of bounded length, with the entity in it."""
    start, end = (min(it, len(text)) for it in sorted(cuts))
    (around,) = of_entities([TaggedText(text, (Span("PER", start, end),))], [[]], 1)
    for line in (one_line(text), around.text):
        assert line.isprintable()
        assert len(line) <= 96
    assert f"[{one_line(text[start:end])}]" in around.text or len(one_line(text[start:end])) > 90
