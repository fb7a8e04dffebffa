"""Fates: results that fit, and dead letters for what does not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from tests.makers import record, tokenized
from worker.errors import RecordRefused
from worker.flow.outcomes import OutcomeBuilder, build_failure
from worker.records import Classification, Output, Prediction, Stage, Task, Tombstone
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding

PREDICTION = Prediction(
    embedding=np.zeros(50, dtype=np.float32), labels={"s": Classification("a", 1.0, {"a": 1.0, "b": 0.0})}, entities=()
)


def fates(**limits: int) -> OutcomeBuilder:
    """Return fates under which the named outputs take no more than so many bytes."""
    return OutcomeBuilder(
        name_for=lambda _source: "m@1",
        limits=Limits(),
        encoding=EmbeddingEncoding.FLOAT,
        max_message_bytes=lambda output: limits.get(output.name.lower(), 1_000_000),
    )


def test_results_that_fit_stay_as_they_are() -> None:
    """One message for each task."""
    outcome = fates().from_prediction(tokenized(1, 3), PREDICTION)
    assert [it.output for it in outcome.messages] == [Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES]
    assert outcome.failures == ()


def test_each_result_that_does_not_fit_becomes_a_dead_letter() -> None:
    """The letters name the task and both sizes; what fits is published."""
    outcome = fates(embeddings=20, labels=10).from_prediction(tokenized(1, 3), PREDICTION)
    assert [it.output for it in outcome.messages] == [Output.ENTITIES, Output.DEAD_LETTERS, Output.DEAD_LETTERS]
    letters = [json.loads(it.value or b"") for it in outcome.messages[1:]]
    assert [(it["stage"], it["task"]) for it in letters] == [("publish", "embed"), ("publish", "classify")]
    assert "the topic takes 20" in letters[0]["message"]
    assert [it.task for it in outcome.failures] == [Task.EMBED, Task.CLASSIFY]


def test_a_message_without_a_key_does_not_fit_a_compacted_topic() -> None:
    """Its dead letter says so, before anything is sent; with a key all outputs are published."""
    compacted = OutcomeBuilder(
        name_for=lambda _source: "m@1",
        limits=Limits(),
        encoding=EmbeddingEncoding.FLOAT,
        max_message_bytes=lambda _output: 1_000_000,
        needs_key=lambda output: output is Output.LABELS,
    )
    assert compacted.from_prediction(tokenized(1, 3), PREDICTION).failures == ()
    without = replace(tokenized(1, 3), item=replace(tokenized(1, 3).item, record=replace(record(1), key=None)))
    outcome = compacted.from_prediction(without, PREDICTION)
    assert [it.output for it in outcome.messages] == [Output.EMBEDDINGS, Output.ENTITIES, Output.DEAD_LETTERS]
    assert "compacted" in outcome.failures[0].message


def test_what_a_topic_takes_is_asked_for_each_message() -> None:
    """A limit that was raised meanwhile holds for the next record."""
    limits = {Output.LABELS: 10}
    changing = OutcomeBuilder(
        name_for=lambda _source: "m@1",
        limits=Limits(),
        encoding=EmbeddingEncoding.FLOAT,
        max_message_bytes=lambda output: limits.get(output, 1_000_000),
    )
    assert len(changing.from_prediction(tokenized(1, 3), PREDICTION).failures) == 1
    limits[Output.LABELS] = 1_000_000
    assert changing.from_prediction(tokenized(1, 3), PREDICTION).failures == ()


def test_a_refusal_takes_only_the_message_that_was_refused() -> None:
    """The failures of before are kept."""
    before = fates().from_prediction(tokenized(1, 3), PREDICTION)
    refusal = RecordRefused(before.partition, before.offset, Output.LABELS, "too large")
    after = fates().refused(before, refusal)
    assert [it.output for it in after.messages] == [Output.EMBEDDINGS, Output.ENTITIES, Output.DEAD_LETTERS]
    assert (after.failures[0].task, after.failures[0].message) == (Task.CLASSIFY, "too large")
    assert after.offset == before.offset


def test_what_is_given_up_is_one_dead_letter() -> None:
    """In place of all outputs."""
    outcome = fates().build_dead_letter(record(1), build_failure(ValueError(""), Stage.DECODE))
    assert [it.output for it in outcome.messages] == [Output.DEAD_LETTERS]
    letter = json.loads(outcome.messages[0].value or b"")
    # An exception without words still says what it is.
    assert (letter["error"], letter["message"]) == ("ValueError", "ValueError")


def test_a_tombstone_is_passed_on() -> None:
    """To the outputs of the tasks served."""
    outcome = fates().from_tombstone(Tombstone(record(1, None)), frozenset({Task.NER}))
    assert [(it.output, it.value) for it in outcome.messages] == [(Output.ENTITIES, None)]
