"""Builds the outcome of a record: its results, or a dead letter with the reason. No I/O.

A record ends in the outputs or in the dead-letter topic, as a whole or task by task. A head that fails, or a topic that refuses a
message, costs one output only.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from worker.errors import BadSettings, InvalidRecord, InvariantBroken, RecordError, RecordRefused, describe_error
from worker.records import TASK_OF_OUTPUT, EmptyRange, Failure, Item, Outcome, Output, Stage, Task
from worker.wire.chunks import encode_in_chunks
from worker.wire.encode import compute_max_dead_letter_bytes, encode, encode_dead_letter, encode_tombstone
from worker.wire.formats import OutputFormat, dump_json, set_content_type
from worker.wire.joint import encode_jointly
from worker.wire.mapping import InputMapping, Skipped, build_decoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.flow.options import Options
    from worker.ports import Delivery, ModelRouter
    from worker.records import Message, Prediction, Record, TokenizedItem, Tombstone, UnreadableRange
    from worker.wire.decode import Limits
    from worker.wire.encode import EmbeddingEncoding
    from worker.wire.formats import Serialize
    from worker.wire.layouts import Layout
    from worker.wire.mapping import Decoder

    # The types of functions with keyword parameters, which `Callable` cannot express.
    _Encode: TypeAlias = Callable[..., Outcome]
    _EncodeTombstone: TypeAlias = Callable[..., Outcome]


def build_failure(error: Exception, stage: Stage) -> Failure:
    """Return the failure that describes an exception: the stage, the class and the message."""
    return Failure(stage=stage, error=type(error).__name__, message=describe_error(error))


def _encode_chunk_tombstone(tombstone: Tombstone, *, tasks: frozenset[Task]) -> Outcome:
    """Return the tombstones of a text in chunks. A worker without the task embed has no topic for those of the chunks."""
    return replace(encode_tombstone(tombstone, tasks=tasks), num_chunks=0 if Task.EMBED in tasks else None)


def build_options_decoder(options: Options, warn: Callable[[str], None]) -> Decoder:
    """Return the decoder of the options of a flow; `warn` gets a sentence about a setting without effect."""
    form = options.schemas.form if options.schemas else None
    return build_decoder(options.mapping, limits=options.limits, tasks=options.tasks, warn=warn, form=form)


class OutcomeBuilder:
    """Builds outcomes and compares their messages with the limits of the output topics."""

    def __init__(
        self,
        *,
        name_for: Callable[[Record | UnreadableRange], str],
        limits: Limits,
        encoding: EmbeddingEncoding,
        max_message_bytes: Callable[[Output], int],
        needs_key: Callable[[Output], bool] = lambda _output: False,
        layout: Layout | None = None,
        has_origin: bool = False,
        is_chunked: bool = False,
        is_joint: bool = False,
        tasks: frozenset[Task] = frozenset(Task),
        decoder: Decoder | None = None,
        output_format: OutputFormat = OutputFormat.JSON,
        serialize: Serialize = dump_json,
    ) -> None:
        """Set the functions that return the name of a record's model and the limits of a topic, which may change.

        `tasks` are the tasks of the worker; with `is_joint` several encoders may serve them. Without a `decoder`, records follow
        the wire contract. `serialize` writes results in `output_format`.
        """
        self._tasks, self._name_for, self._limits = tasks, name_for, limits
        self._decoder = decoder or build_decoder(InputMapping(), limits=limits, tasks=tasks)
        # The encoder of results is chosen once, so that no record pays for the choice.
        options: dict[str, Any] = {"encoding": encoding, "limits": limits, "has_origin": has_origin, "serialize": serialize}
        self._encode: _Encode = partial(encode, **options)
        self._encode_tombstone: _EncodeTombstone = encode_tombstone
        if is_chunked:
            self._encode = partial(encode_in_chunks, **options)
            self._encode_tombstone = _encode_chunk_tombstone
        if is_joint:
            self._encode = partial(encode_jointly, self._encode)
        if layout is not None:
            self._encode = partial(layout.encode, limits=limits)
            self._encode_tombstone = lambda tombstone, **_tasks: layout.encode_tombstone(tombstone)
        if output_format.is_registered:
            encode_json_typed, content_type = self._encode, output_format.content_type
            self._encode = lambda *given, **named: set_content_type(encode_json_typed(*given, **named), content_type)
        self._max_message_bytes, self._needs_key = max_message_bytes, needs_key

    @classmethod
    def from_flow(cls, models: ModelRouter, delivery: Delivery, options: Options, *, warn: Callable[[str], None]) -> Self:
        """Return a builder with the model names of `models` and the topic limits of `delivery`; `warn` is that of the decoder."""
        return cls(
            name_for=models.name_for,
            limits=options.limits,
            encoding=options.embedding_encoding,
            max_message_bytes=delivery.max_message_bytes,
            needs_key=delivery.needs_key,
            layout=options.layout,
            has_origin=options.has_origin,
            is_chunked=options.is_chunked,
            is_joint=models.num_encoders > 0,
            tasks=options.tasks,
            decoder=build_options_decoder(options, warn),
            output_format=options.output_format,
            serialize=options.serialize,
        )

    def check_dead_letters_fit(self) -> None:
        """Raise `BadSettings` if the topic may refuse a dead letter: a refused dead letter blocks its partition."""
        needed_bytes = compute_max_dead_letter_bytes(self._limits)
        accepted_bytes = self._max_message_bytes(Output.DEAD_LETTERS)
        if needed_bytes > accepted_bytes:
            raise BadSettings(
                f"a dead letter may have {needed_bytes} bytes, and its topic accepts {accepted_bytes}: "
                "lower GIST_MAX_DEAD_LETTER_PAYLOAD_BYTES, or raise the topic's max.message.bytes"
            )

    def decode(self, record: Record) -> Item | Outcome:
        """Return the item of a record, or the outcome of a record without a forward pass."""
        try:
            decoded = self._decoder(record)
        except InvalidRecord as error:
            return self.build_dead_letter(record, build_failure(error, Stage.DECODE))
        if isinstance(decoded, Item):
            return decoded
        if isinstance(decoded, Skipped):
            return Outcome(record, skip_reason=decoded.reason)
        return self._encode_tombstone(decoded, tasks=self._tasks)

    def from_prediction(self, tokenized: TokenizedItem, prediction: Prediction) -> Outcome:
        """Return the results of a record; a dead letter if a result cannot be encoded."""
        try:
            # The model that tokenized the record: during a rollout the model of later records may be another one.
            name = tokenized.tokens.model
            return self._encode(tokenized, prediction, model_name=name)
        except RecordError as error:
            return self.build_dead_letter(tokenized.item.record, build_failure(error, Stage.ENCODE))

    def build_dead_letter(self, source: Record | UnreadableRange, failure: Failure) -> Outcome:
        """Return a dead letter as the only message of a record."""
        return encode_dead_letter(source, failure, model_name=self._name_for(source), limits=self._limits)

    def replace_refused(self, outcome: Outcome, refusal: RecordRefused) -> Outcome:
        """Replace the refused message with a dead letter; the other outputs of the record stay."""
        failure = Failure(Stage.PUBLISH, type(refusal).__name__, refusal.reason, task=TASK_OF_OUTPUT.get(refusal.output))
        kept = tuple(message for message in outcome.messages if message.output is not refusal.output)
        if isinstance(outcome.source, EmptyRange):
            raise InvariantBroken("an empty range has no message that a broker could refuse")
        dead_letter = self.build_dead_letter(outcome.source, failure)
        return Outcome(outcome.source, kept + dead_letter.messages, outcome.failures + dead_letter.failures)

    def fits(self, outcome: Outcome) -> bool:
        """Return whether the known limits of the topics accept every message."""
        for message in outcome.messages:
            if message.size_bytes > self._max_message_bytes(message.output) or message.key is None:
                return not any(map(self._find_obstacle, outcome.messages))
        return True

    def replace_oversized(self, outcome: Outcome) -> Outcome:
        """Replace every message that its topic would refuse with a dead letter."""
        replaced = outcome
        for message in outcome.messages:
            # All chunks of a text are refused together, with one dead letter.
            if message in replaced.messages and (reason := self._find_obstacle(message)):
                replaced = self.replace_refused(replaced, RecordRefused(outcome.partition, outcome.offset, message.output, reason))
        return replaced

    def _find_obstacle(self, message: Message) -> str | None:
        """Return the reason for which the topic would refuse a message, or None."""
        limit_bytes = self._max_message_bytes(message.output)
        if message.size_bytes > limit_bytes:
            return f"{message.size_bytes} bytes, and the topic accepts {limit_bytes}"
        if message.key is None and self._needs_key(message.output):
            return (
                "the topic is compacted and takes no message without a key: give the record a key, or set cleanup.policy to delete"
            )
        return None
