"""Counts inputs and outputs, to prove that no record is lost or repeated. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.records import Output
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from worker.records import Record

#: Partition and offset of an input record.
Source = tuple[int, int]
_ALL = frozenset({Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES})
# The outputs that are the only result of a record.
_WHOLE = frozenset({Output.ENRICHED, Output.FLAT, Output.QDRANT})


def read_source(record: Record) -> Source:
    """Return partition and offset of the input record from the headers of an output."""
    headers = read_headers(record.headers)
    return int(headers["gist-source-partition"]), int(headers["gist-source-offset"])


@dataclass(slots=True)
class DeliveryAudit:
    """Counts the outputs of each input record."""

    #: Input records.
    num_produced: int = 0
    #: Occurrences of each output of each input record.
    seen: dict[Source, Counter[Output]] = field(default_factory=dict)
    #: Input records with all outputs or with a dead letter.
    num_accounted: int = 0
    #: Repeated outputs.
    num_duplicates: int = 0
    #: Input records with a dead letter.
    num_dead_letters: int = 0

    def note(self, output: Output, record: Record) -> None:
        """Count an output."""
        outputs = self.seen.setdefault(read_source(record), Counter())
        was_accounted = _is_accounted(outputs)
        outputs[output] += 1
        self.num_duplicates += outputs[output] > 1
        if not was_accounted and _is_accounted(outputs):
            self.num_accounted += 1
            self.num_dead_letters += outputs[Output.DEAD_LETTERS] > 0

    @property
    def num_missing(self) -> int:
        """Input records that have neither all outputs nor a dead letter."""
        return self.num_produced - self.num_accounted

    @property
    def num_repeated_records(self) -> int:
        """Input records with a repeated output."""
        return sum(max(outputs.values()) > 1 for outputs in self.seen.values())


def _is_accounted(outputs: Counter[Output]) -> bool:
    return outputs[Output.DEAD_LETTERS] > 0 or outputs.keys() >= _ALL or bool(outputs.keys() & _WHOLE)
