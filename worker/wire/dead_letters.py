"""Dead letters read back: which of them are meant, and the record that each stands for. Pure."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Self

from pydantic import ValidationError

from schemas.v1 import DeadLetter
from worker.errors import InvalidRecord
from worker.records import Message, Output, Partition, Record, Stage
from worker.wire.decode import ATTEMPT_HEADER, REPLAY_TASK_HEADER, read_id


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """One dead letter: where it stands in the dead-letter topic, when it was written, and what it says."""

    partition: Partition
    offset: int
    timestamp_ms: int
    content: DeadLetter

    @classmethod
    def read(cls, record: Record) -> Self:
        """Read a record of the dead-letter topic; raises `InvalidRecord` where it is no letter of ours."""
        try:
            says = DeadLetter.model_validate_json(record.value or b"")
        except ValidationError as error:
            raise InvalidRecord(f"{record.partition}@{record.offset} is no dead letter: {error.errors()[0]['msg']}") from None
        letter = cls(record.partition, record.offset, record.timestamp_ms, says)
        try:
            letter.record  # noqa: B018  what is not base64 is found here, not where the record is asked for
        except ValueError as error:
            raise InvalidRecord(f"{record.partition}@{record.offset} is no dead letter: {error}") from None
        return letter

    @property
    def name(self) -> str:
        """How people name it: the partition of the dead-letter topic and the offset there, `0@17`."""
        return f"{self.partition.index}@{self.offset}"

    @property
    def source(self) -> str:
        """Where the record stood, `texts-0@123`."""
        return f"{self.content.source.topic}-{self.content.source.partition}@{self.content.source.offset}"

    @property
    def id(self) -> str:
        """The record's id as its outputs would have it, as far as it can be read."""
        return read_id(self.record)

    @property
    def record(self) -> Record:
        """The record, or what is left of it where it was cut."""
        source, headers = self.content.source, tuple((it.name, _bytes(it.value)) for it in self.content.headers)
        return Record(Partition(source.topic, source.partition), source.offset, _bytes(self.content.key), self.payload, headers)

    @property
    def payload(self) -> bytes | None:
        """The record's value, or its beginning."""
        return _bytes(self.content.payload)

    @property
    def replay_obstacle(self) -> str | None:
        """Why the record cannot be sent again from here; None where it can."""
        payload = self.payload
        if Stage(self.content.stage) is Stage.CONSUME:
            return "it stands for offsets that could not be read, of which nothing is kept"
        if self.content.truncated:
            return "its key, headers or payload were cut: what is left is not the record"
        if payload is None and self.content.key is None:
            return "it has neither key nor value"
        if payload is not None and hashlib.sha256(payload).hexdigest() != self.content.payload_sha256:
            return "its payload is not the one that it was written with"
        return None

    def build_original(self) -> Message:
        """Return the record to send again: as it was, and with how often it is tried, and which task of it is due."""
        added: list[tuple[str, bytes | None]] = [(ATTEMPT_HEADER, b"%d" % (self.content.attempts + 1))]
        record = self.record
        headers = list(record.headers)
        if self.content.task is not None:
            added.append((REPLAY_TASK_HEADER, self.content.task.encode()))
            headers = [it for it in headers if it[0] != REPLAY_TASK_HEADER]
        # Where it goes is the caller's to say: the output is only where it comes from.
        return Message(Output.DEAD_LETTERS, record.key, record.value, (*added, *headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFilter:
    """Which letters are meant: those of which all that is said holds; None and nothing say nothing."""

    #: Letters by name, `0@17`.
    names: frozenset[str] = frozenset()
    stage: str | None = None
    error: str | None = None
    #: Part of the message, whatever its case.
    reason: str | None = None
    task: str | None = None
    id: str | None = None
    topic: str | None = None
    #: Of the input topic.
    partition: int | None = None
    offset: int | None = None
    #: When the letter was written, in milliseconds since the epoch, `[since_ms, until_ms)`.
    since_ms: int | None = None
    until_ms: int | None = None

    def __contains__(self, letter: DeadLetterRecord) -> bool:
        says, source = letter.content, letter.content.source
        return (
            (not self.names or letter.name in self.names)
            and self.stage in {None, says.stage}
            and self.error in {None, says.error}
            and (self.reason is None or self.reason.casefold() in says.message.casefold())
            and self.task in {None, says.task}
            and self.topic in {None, source.topic}
            and self.partition in {None, source.partition}
            and self.offset in {None, source.offset}
            and (self.since_ms is None or letter.timestamp_ms >= self.since_ms)
            and (self.until_ms is None or letter.timestamp_ms < self.until_ms)
            and (self.id is None or letter.id == self.id)
        )


def _bytes(encoded: str | None) -> bytes | None:
    return None if encoded is None else base64.b64decode(encoded)
