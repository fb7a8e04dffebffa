"""Numbers to plain values: each text gets what it asks for, and pays only for itself."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.makers import record
from worker.model.heads.head_config import HeadConfig
from worker.model.outputs import predictions as module
from worker.model.outputs.bio import bio_labels
from worker.model.outputs.labels_and_entities import entities
from worker.model.outputs.predictions import RawOutputs, predictions
from worker.records import Item, Task, TokenizedItem, Tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.records import Prediction

pytestmark = pytest.mark.model
HEADS: dict[Task, list[HeadConfig]] = {
    Task.CLASSIFY: [
        HeadConfig(name="sentiment", task="classify", labels=("no", "yes"), layers=(1,)),
        HeadConfig(name="topic", task="classify", labels=("a", "b", "c"), layers=(1,)),
        HeadConfig(name="tone", task="classify", labels=("dry", "warm"), layers=(1,), has_attention=True),
    ],
    Task.NER: [HeadConfig(name=name, task="ner", labels=bio_labels([name.upper()]), layers=(1,)) for name in ("who", "where")],
}
ALL = frozenset(Task)
# What each text asks for, and how many words it has, of one token each.
BATCHES = st.lists(st.tuples(st.frozensets(st.sampled_from(Task)), st.integers(0, 5)), min_size=1, max_size=8)


def build_text(num_words: int, tasks: frozenset[Task] = ALL) -> TokenizedItem:
    """Return a text of words of one character between special tokens."""
    words = [-1, *range(num_words), -1]
    spans = [(max(word, 0), word + 1) for word in words]
    tokens = Tokens(np.zeros(len(words), dtype=np.int32), np.array(spans), np.array(words), truncated=False)
    return TokenizedItem(Item(record(0), "", "abcde"[:num_words], tasks), tokens)


def build_outputs(texts: Sequence[TokenizedItem], seed: int = 0) -> RawOutputs:
    """Return random numbers for some texts."""
    starts = np.cumsum([0, *(len(text.tokens) for text in texts)])
    random = np.random.default_rng(seed)

    def draw(num_rows: int, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        return random.normal(size=(num_rows, width)).astype(np.float32)

    heads = HEADS[Task.CLASSIFY] + HEADS[Task.NER]
    logits = {head.name: draw(starts[-1] if head.reads_tokens else len(texts), head.num_logits) for head in heads}
    return RawOutputs(draw(len(texts), 4), logits, starts)


def alone(numbers: RawOutputs, number: int) -> RawOutputs:
    """Return the numbers of one text."""
    (start, end), one = list(pairwise(numbers.starts))[number], slice(number, number + 1)
    of_texts = {head.name for head in HEADS[Task.CLASSIFY] if not head.reads_tokens}
    logits = {name: values[one] if name in of_texts else values[start:end] for name, values in numbers.logits.items()}
    assert numbers.vectors is not None
    return RawOutputs(numbers.vectors[one], logits, np.array([0, end - start]))


def said(prediction: Prediction) -> tuple[object, ...]:
    """Return all of a prediction, in a form that can be compared."""
    vector = None if prediction.embedding is None else prediction.embedding.tolist()
    return vector, prediction.labels, prediction.entities, prediction.failures


@given(batch=BATCHES, seed=st.integers(0, 1000))
def test_a_batch_says_what_each_text_alone_does(batch: list[tuple[frozenset[Task], int]], seed: int) -> None:
    """Of the tasks that it asks for, and of no other."""
    texts = [build_text(num_words, tasks) for tasks, num_words in batch]
    numbers = build_outputs(texts, seed)
    found = predictions(texts, numbers, HEADS)
    assert [said(prediction) for prediction in found] == [
        said(predictions([text], alone(numbers, n), HEADS)[0]) for n, text in enumerate(texts)
    ]
    for text, prediction in zip(texts, found, strict=True):
        answers = {Task.EMBED: prediction.embedding, Task.CLASSIFY: prediction.labels, Task.NER: prediction.entities}
        assert {task for task, answer in answers.items() if answer is not None} == text.item.tasks


def test_every_head_speaks() -> None:
    """Labels by head; entities of all heads in text order."""
    texts = [build_text(2)]
    numbers = build_outputs(texts)
    numbers.logits["who"][1:3] = [[0, 9, 0], [0, 9, 0]]
    numbers.logits["where"][1:3] = [[0, 9, 0], [9, 0, 0]]
    (prediction,) = predictions(texts, numbers, HEADS)
    assert list(prediction.labels or ()) == ["sentiment", "topic", "tone"]
    assert [(entity.task, entity.type, entity.text) for entity in prediction.entities or ()] == [
        ("who", "WHO", "a"),
        ("where", "WHERE", "a"),
        ("who", "WHO", "b"),
    ]


@given(guilty=st.dictionaries(st.integers(0, 4), st.frozensets(st.sampled_from(Task), min_size=1)))
def test_numbers_that_are_not_finite_cost_their_text_and_task(guilty: dict[int, frozenset[Task]]) -> None:
    """All others say what they would have said."""
    texts = [build_text(num_words) for num_words in (3, 0, 5, 1, 2)]
    numbers, healthy = build_outputs(texts), predictions(texts, build_outputs(texts), HEADS)
    assert numbers.vectors is not None
    for number, tasks in guilty.items():
        for task in tasks:
            name, row = ("topic", number) if task is Task.CLASSIFY else ("where", numbers.starts[number])
            (numbers.vectors[number] if task is Task.EMBED else numbers.logits[name][row])[0] = np.nan
    for number, (prediction, whole) in enumerate(zip(predictions(texts, numbers, HEADS), healthy, strict=True)):
        failed = guilty.get(number, frozenset())
        assert [failure.task for failure in prediction.failures] == sorted(failed)
        assert all("not finite" in failure.message for failure in prediction.failures)
        expected = [
            None if task in failed else answer for task, answer in zip(("embed", "classify", "ner"), said(whole), strict=False)
        ]
        assert list(said(prediction)[:3]) == expected


def test_outputs_of_tasks_that_were_not_requested_are_ignored() -> None:
    """A text that does not ask for its vector does not fail for it."""
    texts = [build_text(1), build_text(2, frozenset({Task.NER}))]
    numbers = build_outputs(texts)
    assert numbers.vectors is not None
    numbers.vectors[1] = np.inf
    assert [prediction.failures for prediction in predictions(texts, numbers, HEADS)] == [(), ()]


def test_an_exception_over_one_text_costs_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own task; the others are answered."""

    def picky(config: HeadConfig, logits: Any, texts: Sequence[TokenizedItem], transitions: Any) -> Any:
        if any(text.item.text == "ab" for text in texts):
            raise KeyError("ab")
        return entities(config, logits, texts, transitions)

    monkeypatch.setattr(module, "entities", picky)
    first, second, third = predictions(
        [build_text(1), build_text(2), build_text(3)], build_outputs([build_text(1), build_text(2), build_text(3)]), HEADS
    )
    assert (first.failures, third.failures) == ((), ())
    assert first.entities is not None
    assert (second.entities, [(failure.error, failure.task) for failure in second.failures]) == (None, [("KeyError", Task.NER)])
    assert second.labels is not None
