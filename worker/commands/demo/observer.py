"""The observer of a demo: counts every output and keeps some records to show."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from worker.composition.broker import map_output_topics
from worker.records import Output
from worker.testbed.delivery_audit import DeliveryAudit, read_source
from worker.wire.encode import decode_embedding
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from worker.records import Record
    from worker.settings import Settings
    from worker.testbed.delivery_audit import Source

# Records to keep, for the table and the neighbours.
_MAX_KEPT = 4_000


@dataclass(slots=True)
class ObservedRecord:
    """A record with its outputs."""

    text: str = ""
    vector: NDArray[np.float32] | None = None
    labels: dict[str, Any] | None = None
    entities: list[dict[str, Any]] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all outputs arrived."""
        return self.vector is not None and self.labels is not None and self.entities is not None

    def add(self, output: Output, value: dict[str, Any]) -> None:
        """Add an output."""
        if output is Output.EMBEDDINGS:
            self.vector = decode_embedding(value)
        elif output is Output.LABELS:
            self.labels = value["labels"]
        else:
            self.entities = value["entities"]


class DemoObserver:
    """Receives every record of the input and the output topics."""

    def __init__(self, settings: Settings) -> None:
        self.input_topic = settings.input_topic
        self._outputs = {topic: output for output, topic in map_output_topics(settings).items()}
        self.audit = DeliveryAudit()
        # The first records with their outputs.
        self.kept: dict[Source, ObservedRecord] = {}
        self.dead_letters: list[dict[str, Any]] = []
        # Milliseconds from the input's timestamp to the embedding's, of single records.
        self.latencies_ms: list[float] = []
        self.num_tokens = 0
        self.num_kills = 0
        # Times of the first output and of the end of the backlog, on the monotonic clock.
        self.first_s: float | None = None
        self.backlog_s: float | None = None
        self._num_backlog = 0
        self._num_backlog_tokens = 0

    def note(self, record: Record) -> None:
        """Receive a record of any of the topics."""
        if record.partition.topic == self.input_topic:
            self._note_input(record)
            return
        self.first_s = self.first_s or time.monotonic()
        output = self._outputs[record.partition.topic]
        self.audit.note(output, record)
        headers = read_headers(record.headers)
        if output is Output.EMBEDDINGS:
            self.num_tokens += int(headers["gist-tokens"])
            if self.backlog_s is not None:
                self.latencies_ms.append(record.timestamp_ms - int(headers["gist-source-timestamp"]))
        if output is Output.DEAD_LETTERS:
            self.dead_letters.append(orjson.loads(record.value or b"null"))
        elif (kept := self.kept.get(read_source(record))) is not None:
            kept.add(output, orjson.loads(record.value or b"null"))

    def end_backlog(self) -> None:
        """Note the end of the backlog; later records are single records."""
        self.backlog_s = time.monotonic()
        self._num_backlog, self._num_backlog_tokens = self.audit.num_accounted, self.num_tokens

    @property
    def rates(self) -> tuple[float, float]:
        """Records and tokens per second over the backlog, from the first output to the last."""
        if self.first_s is None:
            return 0.0, 0.0
        seconds = max(1e-3, (self.backlog_s or time.monotonic()) - self.first_s)
        num_records = self._num_backlog or self.audit.num_accounted
        return num_records / seconds, (self._num_backlog_tokens or self.num_tokens) / seconds

    def _note_input(self, record: Record) -> None:
        if len(self.kept) < _MAX_KEPT:
            try:
                text = orjson.loads(record.value or b"null")["text"]
            except (orjson.JSONDecodeError, TypeError, KeyError):
                return
            if isinstance(text, str):
                self.kept[record.partition.index, record.offset] = ObservedRecord(text)
