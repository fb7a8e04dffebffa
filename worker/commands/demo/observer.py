"""What a demo sees: every output, counted, with a few kept to show."""

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
    from worker.testbed.delivery_audit import Place

# So many results are kept whole, to show some of them and to search among their vectors.
_MAX_KEPT = 4_000


@dataclass(slots=True)
class Kept:
    """What is kept of one record."""

    text: str = ""
    vector: NDArray[np.float32] | None = None
    labels: dict[str, Any] | None = None
    entities: list[dict[str, Any]] | None = None


class Observer:
    """Takes every record of the input and the output topics."""

    def __init__(self, settings: Settings) -> None:
        self.input_topic = settings.input_topic
        self._outputs = {topic: output for output, topic in map_output_topics(settings).items()}
        self.account = DeliveryAudit()
        # The first records, with all that came of them.
        self.kept: dict[Place, Kept] = {}
        self.dead_letters: list[dict[str, Any]] = []
        # Milliseconds from the input's timestamp to the output's, of the messages sent one at a time.
        self.latencies_ms: list[float] = []
        self.num_tokens = 0
        self.num_kills = 0
        # When the first output came, and when the backlog was done, in seconds of `time.monotonic`.
        self.first_s: float | None = None
        self.backlog_s: float | None = None
        self._num_backlog = 0
        self._num_backlog_tokens = 0

    def note(self, record: Record) -> None:
        """Take a record of any of the topics."""
        if record.partition.topic == self.input_topic:
            self._note_input(record)
            return
        self.first_s = self.first_s or time.monotonic()
        output = self._outputs[record.partition.topic]
        self.account.note(output, record)
        headers = read_headers(record.headers)
        if output is Output.EMBEDDINGS:
            self.num_tokens += int(headers["gist-tokens"])
            if self.backlog_s is not None:
                self.latencies_ms.append(record.timestamp_ms - int(headers["gist-source-timestamp"]))
        if output is Output.DEAD_LETTERS:
            self.dead_letters.append(orjson.loads(record.value or b"null"))
        elif (kept := self.kept.get(read_source(record))) is not None:
            _keep(kept, output, orjson.loads(record.value or b"null"))

    def end_backlog(self) -> None:
        """Note that the backlog is done: what comes now was sent one at a time."""
        self.backlog_s = time.monotonic()
        self._num_backlog, self._num_backlog_tokens = self.account.num_accounted, self.num_tokens

    @property
    def rates(self) -> tuple[float, float]:
        """Messages and tokens a second over the backlog, from the first output to the last."""
        if self.first_s is None:
            return 0.0, 0.0
        seconds = max(1e-3, (self.backlog_s or time.monotonic()) - self.first_s)
        num_messages = self._num_backlog or self.account.num_accounted
        return num_messages / seconds, (self._num_backlog_tokens or self.num_tokens) / seconds

    def _note_input(self, record: Record) -> None:
        if len(self.kept) < _MAX_KEPT:
            try:
                text = orjson.loads(record.value or b"null")["text"]
            except (orjson.JSONDecodeError, TypeError, KeyError):
                return
            if isinstance(text, str):
                self.kept[record.partition.index, record.offset] = Kept(text)


def _keep(kept: Kept, output: Output, value: dict[str, Any]) -> None:
    if output is Output.EMBEDDINGS:
        kept.vector = decode_embedding(value)
    elif output is Output.LABELS:
        kept.labels = value["labels"]
    else:
        kept.entities = value["entities"]
