"""Fates: results that fit, and dead letters for what does not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tests.makers import record, tokenized
from worker.errors import RecordRefused
from worker.flow.outcomes import OutcomeBuilder, build_failure
from worker.records import Classification, Outcome, Output, Prediction, Stage, Task
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding
from worker.wire.mapping import EmptyText, InputMapping, build_decoder

if TYPE_CHECKING:
    from worker.wire.mapping import Decoder

PREDICTION = Prediction(
    embedding=np.zeros(50, dtype=np.float32), labels={"s": Classification("a", 1.0, {"a": 1.0, "b": 0.0})}, entities=()
)


def builder(*, tasks: frozenset[Task] = frozenset(Task), decoder: Decoder | None = None, **limits: int) -> OutcomeBuilder:
    """Return a builder with limits in bytes for the named outputs."""
    return OutcomeBuilder(
        tasks=tasks,
        decoder=decoder,
        name_for=lambda _source: "m@1",
        limits=Limits(),
        encoding=EmbeddingEncoding.FLOAT,
        max_message_bytes=lambda output: limits.get(output.name.lower(), 1_000_000),
    )


def test_a_record_has_one_result_for_each_task() -> None:
    outcome = builder().from_prediction(tokenized(1, 3), PREDICTION)
    assert [message.output for message in outcome.messages] == [Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES]
    assert outcome.failures == ()


def test_each_oversized_result_becomes_a_dead_letter() -> None:
    """The dead letters name the task and both sizes. The other results stay."""
    limited = builder(embeddings=20, labels=10)
    oversized = limited.from_prediction(tokenized(1, 3), PREDICTION)
    outcome = limited.replace_oversized(oversized)
    assert (limited.fits(oversized), limited.fits(outcome)) == (False, True)
    assert [message.output for message in outcome.messages] == [Output.ENTITIES, Output.DEAD_LETTERS, Output.DEAD_LETTERS]
    values = [json.loads(message.value or b"") for message in outcome.messages[1:]]
    assert [(value["stage"], value["task"]) for value in values] == [("publish", "embed"), ("publish", "classify")]
    assert "the topic accepts 20" in values[0]["message"]
    assert [failure.task for failure in outcome.failures] == [Task.EMBED, Task.CLASSIFY]


def test_a_message_without_a_key_does_not_fit_a_compacted_topic() -> None:
    """The dead letter contains the reason. A message with a key fits."""
    compacted = OutcomeBuilder(
        name_for=lambda _source: "m@1",
        limits=Limits(),
        encoding=EmbeddingEncoding.FLOAT,
        max_message_bytes=lambda _output: 1_000_000,
        needs_key=lambda output: output is Output.LABELS,
    )
    assert compacted.fits(compacted.from_prediction(tokenized(1, 3), PREDICTION))
    without = replace(tokenized(1, 3), item=replace(tokenized(1, 3).item, record=replace(record(1), key=None)))
    outcome = compacted.replace_oversized(compacted.from_prediction(without, PREDICTION))
    assert [message.output for message in outcome.messages] == [Output.EMBEDDINGS, Output.ENTITIES, Output.DEAD_LETTERS]
    assert "compacted" in outcome.failures[0].message


def test_a_raised_limit_applies_to_the_same_outcome() -> None:
    """The builder reads the limits of the topics for each message."""
    limits = {Output.LABELS: 10}
    changing = OutcomeBuilder(
        name_for=lambda _source: "m@1",
        limits=Limits(),
        encoding=EmbeddingEncoding.FLOAT,
        max_message_bytes=lambda output: limits.get(output, 1_000_000),
    )
    outcome = changing.from_prediction(tokenized(1, 3), PREDICTION)
    assert not changing.fits(outcome)
    limits[Output.LABELS] = 1_000_000
    assert changing.fits(outcome)


def test_a_dead_letter_replaces_only_the_refused_message() -> None:
    before = builder().from_prediction(tokenized(1, 3), PREDICTION)
    refusal = RecordRefused(before.partition, before.offset, Output.LABELS, "too large")
    after = builder().replace_refused(before, refusal)
    assert [message.output for message in after.messages] == [Output.EMBEDDINGS, Output.ENTITIES, Output.DEAD_LETTERS]
    assert (after.failures[0].task, after.failures[0].message) == (Task.CLASSIFY, "too large")
    assert after.offset == before.offset


def test_a_failed_record_has_one_dead_letter_and_no_result() -> None:
    outcome = builder().build_dead_letter(record(1), build_failure(ValueError(""), Stage.DECODE))
    assert [message.output for message in outcome.messages] == [Output.DEAD_LETTERS]
    value = json.loads(outcome.messages[0].value or b"")
    # The message of an exception without text is its class.
    assert (value["error"], value["message"]) == ("ValueError", "ValueError")


def test_a_tombstone_is_a_tombstone_in_each_output_of_the_served_tasks() -> None:
    outcome = builder(tasks=frozenset({Task.NER})).decode(record(1, None))
    assert isinstance(outcome, Outcome)
    assert [(message.output, message.value) for message in outcome.messages] == [(Output.ENTITIES, None)]


def test_a_record_that_is_no_item_is_finished_at_once() -> None:
    """A skipped record has no messages and a reason; an invalid record is a dead letter of the stage `decode`."""
    decoder = build_decoder(InputMapping(empty_text=EmptyText.SKIP), limits=Limits(), tasks=frozenset(Task))
    skipped, failed = (builder(decoder=decoder).decode(record(1, value)) for value in (b"{}", b"["))
    assert skipped == Outcome(record(1, b"{}"), skip_reason="empty")
    assert isinstance(failed, Outcome)
    assert [(failure.stage, failure.error) for failure in failed.failures] == [(Stage.DECODE, "InvalidRecord")]


def test_a_worker_without_vectors_publishes_no_tombstones_of_chunks() -> None:
    """The worker has no topic for them: the header of a producer must not end the worker."""
    for tasks, num_chunks in ((frozenset(Task), 0), (frozenset({Task.NER}), None)):
        chunked = OutcomeBuilder(
            tasks=tasks,
            is_chunked=True,
            name_for=lambda _source: "m@1",
            limits=Limits(),
            encoding=EmbeddingEncoding.FLOAT,
            max_message_bytes=lambda _output: 1_000_000,
        )
        outcome = chunked.decode(replace(record(1), key=b"k", value=None, headers=(("gist-previous-chunks", b"3"),)))
        assert isinstance(outcome, Outcome)
        assert outcome.num_chunks == num_chunks
