"""Reads dead letters, selects them, and restores their records. Pure."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from schemas.v1 import DeadLetter
from worker.errors import InvalidRecord, reword_validation
from worker.records import Message, Output, Partition, Record, Stage
from worker.wire.decode import ATTEMPT_HEADER, REPLAY_TASK_HEADER, read_id

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """A dead letter with its partition, offset and timestamp in the dead-letter topic."""

    partition: Partition
    offset: int
    timestamp_ms: int
    content: DeadLetter
    find_id: Callable[[Record], str] = field(default=read_id, compare=False)

    @classmethod
    def read(cls, record: Record, find_id: Callable[[Record], str] = read_id) -> Self:
        """Read a record of the dead-letter topic. Raises `InvalidRecord` if the record is no dead letter of GIST Stream.

        `find_id` returns the id of the failed record, by default that of the wire contract.
        """
        try:
            content = DeadLetter.model_validate_json(record.value or b"")
        except ValidationError as error:
            problem = error.errors()[0]
            place = "".join(f"`{part}`: " for part in problem["loc"][-1:])
            reason = reword_validation(problem["msg"], noun="field")
            raise InvalidRecord(f"{record.partition}@{record.offset} is no dead letter: {place}{reason}") from None
        dead_letter = cls(record.partition, record.offset, record.timestamp_ms, content, find_id)
        try:
            dead_letter.record  # noqa: B018  raises for invalid base64
        except ValueError as error:
            raise InvalidRecord(f"{record.partition}@{record.offset} is no dead letter: {error}") from None
        return dead_letter

    @property
    def name(self) -> str:
        """The name of the dead letter: partition and offset in the dead-letter topic, `0@17`."""
        return f"{self.partition.index}@{self.offset}"

    @property
    def source(self) -> str:
        """Partition and offset of the record, `texts-0@123`."""
        return f"{self.content.source.topic}-{self.content.source.partition}@{self.content.source.offset}"

    @property
    def id(self) -> str:
        """The id of the record, or the default id if it is not readable."""
        return self.find_id(self.record)

    @property
    def record(self) -> Record:
        """The record. Parts are missing if the record was cut."""
        source, headers = self.content.source, tuple((header.name, _decode(header.value)) for header in self.content.headers)
        return Record(Partition(source.topic, source.partition), source.offset, _decode(self.content.key), self.payload, headers)

    @property
    def payload(self) -> bytes | None:
        """The value of the record, or its beginning."""
        return _decode(self.content.payload)

    @property
    def replay_obstacle(self) -> str | None:
        """The reason for which the record cannot be replayed, or None."""
        payload = self.payload
        if Stage(self.content.stage) is Stage.CONSUME:
            return "the offsets could not be read, so there is no record to send"
        if self.content.truncated:
            return "its key, headers or payload were cut"
        if payload is None and self.content.key is None:
            return "it has neither key nor value"
        if payload is not None and hashlib.sha256(payload).hexdigest() != self.content.payload_sha256:
            return "its payload does not match its checksum"
        return None

    def build_original(self) -> Message:
        """Return the record to send again, with headers for the number of the attempt and the task to repeat."""
        added: list[tuple[str, bytes | None]] = [(ATTEMPT_HEADER, b"%d" % (self.content.attempts + 1))]
        record = self.record
        headers = list(record.headers)
        if self.content.task is not None:
            added.append((REPLAY_TASK_HEADER, self.content.task.encode()))
            headers = [header for header in headers if header[0] != REPLAY_TASK_HEADER]
        # The caller sets the topic. The output is the origin of the dead letter.
        return Message(Output.DEAD_LETTERS, record.key, record.value, (*added, *headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Selects the dead letters that match all given fields. None and an empty set match every dead letter."""

    #: Names of dead letters, `0@17`.
    names: frozenset[str] = frozenset()
    stage: str | None = None
    error: str | None = None
    #: A part of the message, without regard to case.
    reason: str | None = None
    task: str | None = None
    id: str | None = None
    topic: str | None = None
    #: The partition of the input topic.
    partition: int | None = None
    offset: int | None = None
    #: The time of the dead letter, in milliseconds since the epoch, in `[since_ms, until_ms)`.
    since_ms: int | None = None
    until_ms: int | None = None

    def __contains__(self, dead_letter: DeadLetterRecord) -> bool:
        content, source = dead_letter.content, dead_letter.content.source
        return (
            (not self.names or dead_letter.name in self.names)
            and self.stage in {None, content.stage}
            and self.error in {None, content.error}
            and (self.reason is None or self.reason.casefold() in content.message.casefold())
            and self.task in {None, content.task}
            and self.topic in {None, source.topic}
            and self.partition in {None, source.partition}
            and self.offset in {None, source.offset}
            and (self.since_ms is None or dead_letter.timestamp_ms >= self.since_ms)
            and (self.until_ms is None or dead_letter.timestamp_ms < self.until_ms)
            and (self.id is None or dead_letter.id == self.id)
        )


def _decode(encoded: str | None) -> bytes | None:
    return None if encoded is None else base64.b64decode(encoded)
