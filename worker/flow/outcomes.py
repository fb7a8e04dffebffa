"""What becomes of a record: its results, or a dead letter that says why not. Pure.

A record ends in the outputs or in the dead-letter topic, whole or task by task: a head that fails, or a topic that refuses one
message, costs that output alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from worker.errors import BadSettings, InvariantBroken, RecordError, RecordRefused, describe_error
from worker.records import TASK_OF_OUTPUT, EmptyRange, Failure, Outcome, Output, Stage
from worker.wire.encode import EmbeddingEncoding, compute_max_dead_letter_bytes, encode, encode_dead_letter, encode_tombstone

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.flow.options import Options
    from worker.ports import Delivery, ModelRouter
    from worker.records import Message, Prediction, Record, Task, TokenizedItem, Tombstone, UnreadableRange
    from worker.wire.decode import Limits


def build_failure(error: Exception, stage: Stage) -> Failure:
    """Describe an exception as a dead letter does: the stage, the class and the message."""
    return Failure(stage=stage, error=type(error).__name__, message=describe_error(error))


class OutcomeBuilder:
    """Turns what happened to a record into what is published for it, never larger than its topics take."""

    def __init__(
        self,
        *,
        name_for: Callable[[Record | UnreadableRange], str],
        limits: Limits,
        encoding: EmbeddingEncoding,
        max_message_bytes: Callable[[Output], int],
        needs_key: Callable[[Output], bool] = lambda _output: False,
    ) -> None:
        """Sign with the model that `name_for` gives a record.

        `max_message_bytes` and `needs_key` say what an output topic takes. They are asked for each message, for it may change.
        """
        self._name_for = name_for
        self._limits = limits
        self._encoding = encoding
        self._max_message_bytes = max_message_bytes
        self._needs_key = needs_key

    @classmethod
    def from_flow(cls, models: ModelRouter, delivery: Delivery, options: Options) -> Self:
        """Return the fates of a flow, which signs with its models and fits the topics of its delivery."""
        return cls(
            name_for=models.name_for,
            limits=options.limits,
            encoding=options.embedding_encoding,
            max_message_bytes=delivery.max_message_bytes,
            needs_key=delivery.needs_key,
        )

    def check_dead_letters_fit(self) -> None:
        """Raise `BadSettings` where a dead letter might be refused: nothing may pass it, so it would hold up its partition."""
        needed_bytes, taken_bytes = compute_max_dead_letter_bytes(self._limits), self._max_message_bytes(Output.DEAD_LETTERS)
        if needed_bytes > taken_bytes:
            raise BadSettings(
                f"a dead letter may have {needed_bytes} bytes, and its topic takes {taken_bytes}: "
                "lower GIST_MAX_DEAD_LETTER_PAYLOAD_BYTES, or raise the topic's max.message.bytes"
            )

    def from_prediction(self, tokenized: TokenizedItem, prediction: Prediction) -> Outcome:
        """Return the results of a record; a result that cannot be written gives it up."""
        try:
            # The one that tokenized it: meanwhile a record like it may go to another.
            name = tokenized.tokens.model
            outcome = encode(tokenized, prediction, model_name=name, encoding=self._encoding, limits=self._limits)
        except RecordError as error:
            return self.build_dead_letter(tokenized.item.record, build_failure(error, Stage.ENCODE))
        return self._fitting(outcome)

    def from_tombstone(self, tombstone: Tombstone, tasks: frozenset[Task]) -> Outcome:
        """Return a tombstone for every output. Raises `InvalidRecord` where it cannot be one."""
        return self._fitting(encode_tombstone(tombstone, tasks=tasks))

    def build_dead_letter(self, source: Record | UnreadableRange, failure: Failure) -> Outcome:
        """Return a dead letter in place of all outputs."""
        return encode_dead_letter(source, failure, model_name=self._name_for(source), limits=self._limits)

    def refused(self, outcome: Outcome, refusal: RecordRefused) -> Outcome:
        """Put a dead letter in the place of the message that was refused; the record's other outputs stay."""
        failure = Failure(Stage.PUBLISH, type(refusal).__name__, refusal.reason, task=TASK_OF_OUTPUT.get(refusal.output))
        kept = tuple(message for message in outcome.messages if message.output is not refusal.output)
        if isinstance(outcome.source, EmptyRange):
            raise InvariantBroken("an empty range has no message that a broker could refuse")
        letter = self.build_dead_letter(outcome.source, failure)
        return Outcome(outcome.source, kept + letter.messages, outcome.failures + letter.failures)

    def _fitting(self, outcome: Outcome) -> Outcome:
        """Replace every message that its topic would not take, before anything is sent."""
        fitting = outcome
        for message in outcome.messages:
            if reason := self._obstacle(message):
                fitting = self.refused(fitting, RecordRefused(outcome.partition, outcome.offset, message.output, reason))
        return fitting

    def _obstacle(self, message: Message) -> str | None:
        """Return why the topic of a message would refuse the message; None where it would not, as far as is known."""
        limit_bytes = self._max_message_bytes(message.output)
        if message.size_bytes > limit_bytes:
            return f"{message.size_bytes} bytes, and the topic takes {limit_bytes}"
        if message.key is None and self._needs_key(message.output):
            return (
                "the topic is compacted and takes no message without a key: give the record a key, or set cleanup.policy to delete"
            )
        return None
