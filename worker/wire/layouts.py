"""Encodes all results of a record, or of each chunk, as one message: the layouts `enriched`, `flat` and `qdrant`. Pure.

A record of which one task failed is a dead letter as a whole: a message with fewer results would replace an earlier message that
has all of them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from worker.errors import RecordFailed
from worker.records import Message, Outcome, Output
from worker.wire.chunks import CHUNKS_HEADER, split_into_chunks
from worker.wire.encode import (
    EmbeddingEncoding,
    build_embedding_fields,
    build_entity_list,
    build_label_fields,
    build_origin_fields,
    encode_dead_letter,
)
from worker.wire.formats import dump_json
from worker.wire.headers import build_event_headers, build_source_headers, copy_headers
from worker.wire.mapping import InputMapping, build_field_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from worker.records import Headers, Prediction, Record, TokenizedItem, Tombstone
    from worker.wire.chunks import Chunk
    from worker.wire.decode import Limits
    from worker.wire.formats import Serialize

    Fields: TypeAlias = dict[str, Any]
    BuildValue: TypeAlias = Callable[[TokenizedItem, Prediction, str, Chunk | None], Fields]

# The namespace of the ids of Qdrant's points.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "gist-stream.qdrant")
# The largest id of a point that the connector reads as a number.
_MAX_POINT_ID = 2**63 - 1
# Reads the fields of records of the wire contract.
_READ_CONTRACT = build_field_reader(InputMapping())
# The results that the layout `flat` writes as strings of JSON.
_DOCUMENTS = ("labels", "values", "entities")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Encodes all results of a record as one message for `output`."""

    output: Output
    #: Return the value of a text or of a chunk of a text.
    build_value: BuildValue
    serialize: Serialize = dump_json
    #: Whether each chunk of a text with an embedding has a message.
    is_chunked: bool = False

    def encode(self, tokenized: TokenizedItem, prediction: Prediction, *, model_name: str, limits: Limits) -> Outcome:
        """Return one message, or one for each chunk, or one dead letter if a task failed.

        Raises `RecordFailed` if the value cannot be encoded, and `InvariantBroken` for a number that is not finite.
        """
        record = tokenized.item.record
        if prediction.failures:
            failure = prediction.failures[0]
            whole = replace(failure, message=f"{failure.task}: {failure.message}" if failure.task else failure.message, task=None)
            return encode_dead_letter(record, whole, model_name=model_name, limits=limits)
        if not self.is_chunked or prediction.embedding is None:
            return Outcome(record, (self._encode(tokenized, prediction, model_name),))
        chunks = split_into_chunks(tokenized, prediction, prediction.embedding)
        messages = [self._encode(chunk.tokenized, chunk.prediction, model_name, chunk) for chunk in chunks]
        return Outcome(record, tuple(messages), num_chunks=len(chunks))

    def _encode(self, tokenized: TokenizedItem, prediction: Prediction, model_name: str, chunk: Chunk | None = None) -> Message:
        record = tokenized.item.record
        try:
            value = self.serialize(self.output, record, self.build_value(tokenized, prediction, model_name, chunk))
        except orjson.JSONEncodeError as error:
            raise RecordFailed(f"the input cannot be part of an output: {error}") from None
        text_headers: Headers = (
            ("gist-tokens", b"%d" % len(tokenized.tokens)),
            ("gist-truncated", b"true" if tokenized.tokens.truncated else b"false"),
        )
        key, number = record.key, tuple[str, ...]()
        if chunk:
            key, number = chunk.key, (str(chunk.number),)
            text_headers = (*text_headers, (CHUNKS_HEADER, b"%d" % chunk.fields["count"]))
        event = build_event_headers(record, self.output, marks=(model_name, *number))
        headers = copy_headers(record) + event + build_source_headers(record, model_name) + text_headers
        return Message(self.output, key, value, headers)

    def encode_tombstone(self, tombstone: Tombstone) -> Outcome:
        """Return a tombstone for the topic of the layout."""
        record = tombstone.record
        event = build_event_headers(record, self.output, is_tombstone=True)
        headers = copy_headers(record) + event + build_source_headers(record, None)
        return Outcome(record, (Message(self.output, record.key, None, headers),), num_chunks=0 if self.is_chunked else None)


def build_layout(
    output: Output,
    *,
    encoding: EmbeddingEncoding,
    result_field: str,
    collection: str,
    has_origin: bool = False,
    is_chunked: bool = False,
    read_fields: Callable[[Record], Mapping[str, Any]] = _READ_CONTRACT,
    serialize: Serialize = dump_json,
) -> Layout:
    """Return the layout of one of the outputs `ENRICHED`, `FLAT` and `QDRANT`; `read_fields` reads the input."""

    def build_enriched(tokenized: TokenizedItem, prediction: Prediction, model_name: str, _chunk: Chunk | None) -> dict[str, Any]:
        fields = _build_vector(prediction, encoding) | _build_results(tokenized, prediction, model_name)
        if has_origin:
            fields |= build_origin_fields(tokenized.item.record, model_name)
        return {**read_fields(tokenized.item.record), result_field: fields}

    def build_flat(tokenized: TokenizedItem, prediction: Prediction, model_name: str, chunk: Chunk | None) -> dict[str, Any]:
        value = {"id": tokenized.item.id, "text": tokenized.item.text, **_build_vector(prediction, encoding)}
        results = _build_results(tokenized, prediction, model_name)
        # A JDBC sink has no type for a list of objects. It writes a string of JSON to a column of type `jsonb`.
        documents = {name: orjson.dumps(results[name]).decode() for name in _DOCUMENTS if name in results}
        return {**value, **results, **documents, **(chunk.fields if chunk else {})}

    def build_point(tokenized: TokenizedItem, prediction: Prediction, model_name: str, chunk: Chunk | None) -> dict[str, Any]:
        if prediction.embedding is None:
            raise RecordFailed("a point of Qdrant needs a vector, and the record does not request the task embed")
        item, results = tokenized.item, _build_results(tokenized, prediction, model_name)
        fields = read_fields(item.record)
        if chunk:
            fields = {name: field for name, field in fields.items() if field != chunk.whole}  # not the whole text in each point
            results |= {**chunk.fields, "text": item.text}
        payload = {**fields, "id": item.id, result_field: results}
        vector = build_embedding_fields(prediction.embedding, EmbeddingEncoding.FLOAT)["embedding"]
        return {"collection_name": collection, "id": build_point_id(item.id), "vector": vector, "payload": payload}

    builders = {Output.ENRICHED: build_enriched, Output.FLAT: build_flat, Output.QDRANT: build_point}
    return Layout(output=output, build_value=builders[output], is_chunked=is_chunked, serialize=serialize)


def _build_vector(prediction: Prediction, encoding: EmbeddingEncoding) -> dict[str, Any]:
    return {} if prediction.embedding is None else build_embedding_fields(prediction.embedding, encoding)


def build_point_id(identity: str) -> int | str:
    """Return the id of a point of Qdrant: the number, the UUID, or a UUID that is derived from another id."""
    is_number = len(identity) <= len(str(_MAX_POINT_ID)) and identity.isascii() and identity.isdigit()
    if is_number and identity == str(number := int(identity)) and number <= _MAX_POINT_ID:
        return number
    try:
        return str(uuid.UUID(identity))
    except ValueError:
        return str(uuid.uuid5(_NAMESPACE, identity))


def _build_results(tokenized: TokenizedItem, prediction: Prediction, model_name: str) -> dict[str, Any]:
    """Return labels and entities, as far as they were requested, with the model and the length of the text."""
    results: dict[str, Any] = {}
    if prediction.labels is not None:
        results["labels"] = build_label_fields(prediction.labels)
    if prediction.values is not None:
        results["values"] = prediction.values
    if prediction.entities is not None:
        results["entities"] = build_entity_list(prediction.entities)
    return results | {"model": model_name, "tokens": len(tokenized.tokens), "truncated": tokenized.tokens.truncated}
