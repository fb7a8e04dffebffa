"""Keep account of what went in and what came out: the proof that none was lost and none came twice. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.records import Output
from worker.wire.headers import read_headers

if TYPE_CHECKING:
    from worker.records import Record

# Where a record stood in the input topic: partition and offset.
Place = tuple[int, int]
_ALL = frozenset({Output.EMBEDDINGS, Output.LABELS, Output.ENTITIES})


def read_source(record: Record) -> Place:
    """Return where the input record of an output stood, as its headers say."""
    headers = read_headers(record.headers)
    return int(headers["gist-source-partition"]), int(headers["gist-source-offset"])


@dataclass(slots=True)
class DeliveryAudit:
    """What came out for each input record, counted by output."""

    #: How many records went in.
    num_produced: int = 0
    #: How often each output of each input record was seen.
    seen: dict[Place, Counter[Output]] = field(default_factory=dict)
    #: Input records with every output, or with a dead letter.
    num_accounted: int = 0
    #: How many outputs were seen again.
    num_duplicates: int = 0
    #: Input records that ended in a dead letter.
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
        """Records that went in and have neither all their outputs nor a dead letter."""
        return self.num_produced - self.num_accounted

    @property
    def num_repeated_records(self) -> int:
        """Input records of which some output was seen again."""
        return sum(max(outputs.values()) > 1 for outputs in self.seen.values())


def _is_accounted(outputs: Counter[Output]) -> bool:
    return outputs[Output.DEAD_LETTERS] > 0 or outputs.keys() >= _ALL
