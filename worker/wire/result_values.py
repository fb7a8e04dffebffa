"""Reads the results of a record from the values of any layout, for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from worker.errors import InvalidRecord
from worker.records import Output
from worker.wire.content import dump_bytes
from worker.wire.encode import decode_embedding
from worker.wire.mapping import IdSource, InputMapping
from worker.wire.registered.frame import read_schema_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from worker.wire.content import RecordForm

# The form of the records of the wire contract.
_CONTRACT = InputMapping()
# The fields of a vector in the layouts.
_VECTOR_FIELDS = frozenset({"embedding", "scale", "vector"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The results of one record; None for a result that is not there."""

    id: str | None
    #: The text, in layouts that contain it.
    text: str | None = None
    labels: Mapping[str, Mapping[str, Any]] | None = None
    values: Mapping[str, Mapping[str, float]] | None = None
    entities: list[dict[str, Any]] | None = None
    vector: NDArray[np.float32] | None = None
    #: The number of chunks with vectors of their own; 0 for a text that is not in chunks.
    num_chunks: int = 0


def read_results(values: Mapping[Output, Mapping[str, Any]], result_field: str, mapping: InputMapping = _CONTRACT) -> Results:
    """Return the results in the values of a record. Raises `LookupError`, `TypeError` or `ValueError` for other values.

    `mapping` finds text and id in the layouts that repeat the input record.
    """
    fields: dict[str, Any] = {}
    for output, value in values.items():
        fields |= _flatten(output, value, result_field, mapping)
    identity, text = fields.get("id"), fields.get("text")
    return Results(
        id=None if identity is None else str(identity),
        text=text if isinstance(text, str) else None,
        labels=fields.get("labels"),
        values=fields.get("values"),
        entities=fields.get("entities"),
        vector=decode_embedding(fields) if fields.get("embedding") is not None else None,
        # In other layouts a field of the input may have this name.
        num_chunks=sum(len(value.get("chunks", ())) for output, value in values.items() if output is not Output.ENRICHED),
    )


def read_json_value(value: bytes, form: RecordForm) -> bytes:
    """Return the value of a result in any output format as plain JSON. Raises `InvalidRecord`, or `ValueError` for no JSON."""
    try:
        if read_schema_id(value) is not None:
            # Avro has a null for each field that plain JSON leaves out.
            return orjson.dumps(_drop_nulls(form.read_content(value, {})[0]), default=dump_bytes)
        fields = orjson.loads(value)
        is_wrapped = isinstance(fields, dict) and fields.keys() == {"schema", "payload"}
        return orjson.dumps(fields["payload"]) if is_wrapped else value
    except (orjson.JSONEncodeError, RecursionError):
        raise InvalidRecord("the value is nested too deeply") from None


def _drop_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _drop_nulls(field) for name, field in value.items() if field is not None}
    return list(map(_drop_nulls, value)) if isinstance(value, list) and value and isinstance(value[0], dict) else value


def drop_vectors(value: Mapping[str, Any], result_field: str) -> dict[str, Any]:
    """Return a value of any layout without its vector."""
    kept = {name: field for name, field in value.items() if name not in _VECTOR_FIELDS}
    if isinstance(chunks := kept.get("chunks"), list):
        kept["chunks"] = [{name: field for name, field in chunk.items() if name not in _VECTOR_FIELDS} for chunk in chunks]
    if isinstance(results := kept.get(result_field), dict):
        kept[result_field] = {name: field for name, field in results.items() if name not in _VECTOR_FIELDS}
    return kept


def _flatten(output: Output, value: Mapping[str, Any], result_field: str, mapping: InputMapping) -> dict[str, Any]:
    """Return id, text and results of a value as fields of one level."""
    if output is Output.ENRICHED:
        origin = {"id": _find_id(value, mapping), "text": _find_text(value, mapping)}
        return {**value, "values": None, **origin, **value[result_field]}
    if output is not Output.EMBEDDINGS and "chunks" in value:
        parts = [_flatten(output, chunk, result_field, mapping) for chunk in value["chunks"]]
        entities = [entity for part in parts for entity in part.get("entities") or ()]
        return {**parts[0], **value, "text": None, "embedding": None, "entities": entities if "entities" in parts[0] else None}
    if output is Output.FLAT:
        return {**value, **{name: orjson.loads(value[name]) for name in ("labels", "values", "entities") if name in value}}
    if output is Output.QDRANT:
        vector = {"embedding": value["vector"], "dim": len(value["vector"]), "encoding": "float"}
        payload = value["payload"]
        # The results of a chunk contain its text.
        return {**payload, "values": None, "text": _find_text(payload, mapping), **payload[result_field], **vector}
    return dict(value)


def _find_text(fields: Mapping[str, Any], mapping: InputMapping) -> Any:
    """Return the text in the fields of an input record. That of a record of plain text is in the field of the wire contract."""
    try:
        text = mapping.text.read_text(fields)
    except InvalidRecord:
        text = None
    return fields.get("text") if text is None else text


def _find_id(fields: Mapping[str, Any], mapping: InputMapping) -> Any:
    if mapping.id_source is not IdSource.FIELD:
        return None
    identity = mapping.id_path.find(fields)
    return fields.get("id") if identity is None else identity
