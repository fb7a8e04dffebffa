"""Finds the chunks of earlier versions of a text that no longer exist, and adds their tombstones. Pure.

The number of chunks of an earlier version is known from the publications of this worker since its start, for a bounded number of
keys, or from the header `gist-previous-chunks` of the record.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Self, TypeAlias

from worker.records import Output, Record
from worker.wire.chunks import encode_chunk_tombstones, read_previous_chunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from worker.flow.options import Options
    from worker.records import Outcome, Partition

    _Key: TypeAlias = tuple[Partition, bytes]

_MAX_KEYS = 100_000


class ChunkCounts:
    """The numbers of chunks of the texts that were published last, by partition and key."""

    def __init__(self, max_keys: int = _MAX_KEYS, output: Output = Output.EMBEDDINGS) -> None:
        """Know the counts of at most `max_keys` keys, the most recent ones; `output` has the chunks."""
        self._max_keys = max_keys
        self._output = output
        self._counts: OrderedDict[_Key, int] = OrderedDict()

    @classmethod
    def from_options(cls, options: Options) -> Self | None:
        """Return an instance for the output with the chunks; None without chunks."""
        return cls(output=options.layout.output if options.layout else Output.EMBEDDINGS) if options.is_chunked else None

    def complete(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes of a publication, in order, with tombstones for the chunks that no longer exist."""
        counts: dict[_Key, int] = {}
        completed = []
        for outcome in outcomes:
            key, num_chunks, record = _find_key(outcome), outcome.num_chunks, outcome.source
            if key is not None and num_chunks is not None and isinstance(record, Record):
                previous = max(counts.get(key, self._counts.get(key, 0)), read_previous_chunks(record))
                if num_chunks == 0:
                    # Every text has a first chunk, also one that was published before the start of this worker.
                    previous = max(previous, 1)
                # The broker may refuse this version, and the chunks of the earlier one would remain.
                counts[key] = max(previous, num_chunks)
                if previous > num_chunks:
                    gone = encode_chunk_tombstones(record, num_chunks, previous, self._output)
                    completed.append(replace(outcome, messages=outcome.messages + gone))
                    continue
            completed.append(outcome)
        return completed

    def note_published(self, outcomes: Sequence[Outcome]) -> None:
        """Keep the counts of acknowledged outcomes."""
        for outcome in outcomes:
            key = _find_key(outcome)
            if key is not None and outcome.num_chunks is not None:
                self._counts[key] = outcome.num_chunks
                self._counts.move_to_end(key)
        while len(self._counts) > self._max_keys:
            self._counts.popitem(last=False)


def _find_key(outcome: Outcome) -> _Key | None:
    source = outcome.source
    return (source.partition, source.key) if isinstance(source, Record) and source.key is not None else None
