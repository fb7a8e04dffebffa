"""Joins the newest input records and their outputs, within bounds of number and bytes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias

import orjson
from pydantic import TypeAdapter
from typing_extensions import TypedDict

from worker.console.vector_index import VectorIndex
from worker.errors import InvalidRecord
from worker.records import Item, Output
from worker.wire.headers import read_headers
from worker.wire.result_values import drop_vectors, read_results

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.records import Record
    from worker.wire.mapping import Decoder
    from worker.wire.result_values import Results

#: Topic, partition and offset of an input record.
Place: TypeAlias = tuple[str, int, int]

_RESULT_FIELDS = ("id", "text", "labels", "values", "entities")
# The beginning of a record without a text that a row shows.
_MAX_RAW_BYTES = 300
# The longest part of a text that a row shows, and of a value in the details, in characters.
_MAX_ROW_CHARS, _MAX_VALUE_CHARS = 2_000, 65_536
_MAX_PROBLEM_CHARS, _MAX_ROW_ENTITIES, _MAX_ROW_LABELS = 300, 200, 100
# The digits of the largest offset.
_MAX_DIGITS = 19


class _Label(TypedDict):
    """What the page shows of the output of a head."""

    label: str
    score: float
    labels: NotRequired[list[str]]


class _Entity(TypedDict):
    """What the page shows of an entity."""

    type: str
    text: str
    start: int
    end: int
    score: float


# The labels, values and entities that the page can show.
_FORM = TypeAdapter(tuple[dict[str, _Label] | None, dict[str, dict[str, float]] | None, list[_Entity] | None])


@dataclass(slots=True)
class _Joined:
    """An input record and its outputs, as far as they have arrived."""

    source: Record | None = None
    item: Item | None = None
    #: Why the console cannot read the input record or an output.
    problem: str | None = None
    #: Id, text, labels, values and entities of the outputs, as far as they have them.
    results: dict[str, Any] = field(default_factory=dict)
    #: The record of each output without its value.
    outputs: dict[Output, Record] = field(default_factory=dict)
    #: The value of each output without vectors.
    values: dict[Output, dict[str, Any]] = field(default_factory=dict)
    num_chunks: int = 0
    size_bytes: int = 0


class RecordStore:
    """The newest records with their outputs, and the vectors of the outputs. The oldest record makes room for the newest."""

    def __init__(
        self,
        *,
        outputs: Mapping[str, Output],
        decode: Decoder,
        result_field: str,
        max_records: int = 10_000,
        max_bytes: int = 128 << 20,
    ) -> None:
        """Join the outputs of the topics in `outputs`; records of all other topics are input records."""
        self._outputs = outputs
        self._decode = decode
        self._result_field = result_field
        self._max_records = max_records
        self._max_bytes = max_bytes
        # In the order of the first part that arrived.
        self._joined: dict[Place, _Joined] = {}
        self._num_bytes = 0
        self.index: VectorIndex[Place] = VectorIndex(max_records)

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._joined)

    def list_newest(self, count: int) -> list[Place]:
        """Return the newest records, the oldest of them first."""
        return list(self._joined)[-count:]

    def add(self, record: Record) -> Place | None:
        """Add an input record or an output; return the input record that it belongs to, or None for a foreign message."""
        output = self._outputs.get(record.partition.topic)
        if output is None:
            place = (record.partition.topic, record.partition.index, record.offset)
            self._add_source(self._open(place), record)
        else:
            try:
                place = _read_place(record)
                value = orjson.loads(record.value) if record.value is not None else None
            except (KeyError, ValueError):
                return None
            if value is not None and not isinstance(value, dict):
                return None
            self._add_output(place, output, record, value)
        self._evict()
        return place

    def _open(self, place: Place) -> _Joined:
        return self._joined.setdefault(place, _Joined())

    def _add_source(self, joined: _Joined, record: Record) -> None:
        joined.source = record
        try:
            decoded = self._decode(record)
        except InvalidRecord as error:
            joined.problem = str(error)
        else:
            joined.item = decoded if isinstance(decoded, Item) else None
        self._count(joined, 2 * record.size_bytes + _measure_headers(record))

    def _add_output(self, place: Place, output: Output, record: Record, value: dict[str, Any] | None) -> None:
        joined = self._open(place)
        joined.outputs[output] = kept = replace(record, value=None)
        self._count(joined, kept.size_bytes + _measure_headers(kept))
        if value is None:
            return
        try:
            results = self._keep_output(joined, output, value)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            joined.problem = f"an output cannot be read: {type(error).__name__}: {error}"[:_MAX_PROBLEM_CHARS]
            return
        if results is not None and results.vector is not None:
            self.index.add(place, results.vector, _read_model(record))

    def _keep_output(self, joined: _Joined, output: Output, value: dict[str, Any]) -> Results | None:
        """Keep what the page shows of an output, and return its results; None for a dead letter. Raises for another form."""
        kept, fields, results = drop_vectors(value, self._result_field), dict[str, Any](), None
        if output is not Output.DEAD_LETTERS:
            results = read_results({output: value}, self._result_field)
            _check_form(results)
            fields = {name: own for name in _RESULT_FIELDS if (own := getattr(results, name)) is not None}
        # The lists are the levels of an event around a value, because JSON has a bound of levels.
        size_bytes = len(orjson.dumps([[[[kept, fields]]]]))
        if "parent" in value and output is Output.EMBEDDINGS and isinstance(count := value.get("count", 1), int):
            joined.num_chunks = max(joined.num_chunks, count)
            fields["id"] = str(value["parent"])
        joined.values[output] = kept
        joined.results |= fields
        self._count(joined, size_bytes)
        return results

    def _count(self, joined: _Joined, num_bytes: int) -> None:
        joined.size_bytes += num_bytes
        self._num_bytes += num_bytes

    def _evict(self) -> None:
        while len(self._joined) > self._max_records or (self._num_bytes > self._max_bytes and len(self._joined) > 1):
            oldest = next(iter(self._joined))
            self._num_bytes -= self._joined.pop(oldest).size_bytes

    def build_row(self, place: Place) -> dict[str, Any] | None:
        """Return the fields of a record for a list, as JSON; None if the record is no longer here."""
        joined = self._joined.get(place)
        if joined is None:
            return None
        row: dict[str, Any] = {"topic": place[0], "partition": place[1], "offset": place[2], "problem": joined.problem}
        row |= dict.fromkeys(_RESULT_FIELDS) | joined.results
        if joined.item is not None:
            row |= {"id": joined.item.id, "text": joined.item.text}
        elif joined.source is not None and joined.source.value is not None:
            row["raw"] = _show_bytes(joined.source.value[:_MAX_RAW_BYTES])
        row["entities"] = row["entities"] and row["entities"][:_MAX_ROW_ENTITIES]
        row["labels"] = _cut_labels(row["labels"])
        row["values"] = row["values"] and dict(islice(row["values"].items(), _MAX_ROW_LABELS))
        text = row.get("text") or ""
        row |= {"text": text[:_MAX_ROW_CHARS] or None, "is_cut": len(text) > _MAX_ROW_CHARS}
        return row | self._describe_outcome(joined)

    def _describe_outcome(self, joined: _Joined) -> dict[str, Any]:
        letter = joined.values.get(Output.DEAD_LETTERS)
        results = [record for output, record in joined.outputs.items() if output is not Output.DEAD_LETTERS]
        newest = max((record.timestamp_ms for record in joined.outputs.values()), default=None)
        start = joined.source.timestamp_ms if joined.source else _read_start(next(iter(joined.outputs.values())))
        return {
            "dead_letter": letter and {"stage": letter.get("stage"), "message": letter.get("message"), "task": letter.get("task")},
            "model": _read_model(results[-1]) if results else None,
            "outputs": sorted(joined.outputs),
            "is_tombstone": joined.source is not None and joined.source.value is None,
            "num_chunks": joined.num_chunks,
            "timestamp_ms": start,
            "published_ms": newest,
            "latency_ms": None if newest is None or start < 0 else max(0, newest - start),
        }

    def describe(self, place: Place) -> dict[str, Any] | None:
        """Return everything about a record, as JSON: the row, the input record and each output; None if it is no longer here."""
        joined, row = self._joined.get(place), self.build_row(place)
        if joined is None or row is None:
            return None
        start = row["timestamp_ms"]
        outputs = [
            {
                "output": output,
                "topic": record.partition.topic,
                "partition": record.partition.index,
                "offset": record.offset,
                "after_ms": None if start < 0 else max(0, record.timestamp_ms - start),
                "headers": _show_headers(record),
                "value": joined.values.get(output),
            }
            for output, record in joined.outputs.items()
        ]
        source = joined.source and {
            "key": _show_bytes(joined.source.key),
            "value": _show_bytes(joined.source.value),
            "headers": _show_headers(joined.source),
        }
        return row | {"source": source, "results": outputs, "is_searchable": self.index.find(place) is not None}


def _read_place(record: Record) -> Place:
    """Return the input record of an output. Raises `KeyError` or `ValueError` for a foreign message."""
    headers = read_headers(record.headers)
    return (
        headers["gist-source-topic"].decode(errors="replace"),
        _read_number(headers["gist-source-partition"]),
        _read_number(headers["gist-source-offset"]),
    )


def _read_start(record: Record) -> int:
    try:
        return _read_number(read_headers(record.headers)["gist-source-timestamp"])
    except (KeyError, ValueError):
        return -1


def _read_number(written: bytes) -> int:
    """Return a number of at most 64 bits that is not negative. Raises `ValueError`."""
    if not written.isdigit() or len(written) > _MAX_DIGITS:
        raise ValueError("a number in its headers is not valid")
    return int(written)


def _cut_labels(labels: Mapping[str, _Label] | None) -> dict[str, Any] | None:
    """Return the labels of the first heads without the scores of the labels that were not chosen: a head may have thousands."""
    if labels is None:
        return None
    return {
        head: {"label": own["label"], "score": own["score"], "labels": own.get("labels", [])[:_MAX_ROW_LABELS]}
        for head, own in islice(labels.items(), _MAX_ROW_LABELS)
    }


def _check_form(results: Results) -> None:
    """Raise `ValueError` for results that the page cannot show."""
    if not _FORM.validator.isinstance_python((results.labels, results.values, results.entities), strict=True):
        raise ValueError("its labels, values or entities have another form")


def _read_model(record: Record) -> str:
    return read_headers(record.headers).get("gist-model", b"").decode(errors="replace")


def _measure_headers(record: Record) -> int:
    return sum(len(name) + len(value or b"") for name, value in record.headers)


def _show_bytes(content: bytes | None) -> str | None:
    return None if content is None else content[:_MAX_VALUE_CHARS].decode(errors="backslashreplace")


def _show_headers(record: Record) -> list[tuple[str, str | None]]:
    return [(name, _show_bytes(value)) for name, value in record.headers]
