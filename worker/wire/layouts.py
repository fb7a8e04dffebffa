"""Encodes all results of a record as one message: the layouts `enriched`, `flat` and `qdrant`. Pure.

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

    from worker.records import Prediction, Record, TokenizedItem, Tombstone
    from worker.wire.decode import Limits
    from worker.wire.formats import Serialize

    BuildValue: TypeAlias = Callable[[TokenizedItem, Prediction, str], dict[str, Any]]

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
    build_value: BuildValue
    serialize: Serialize = dump_json

    def encode(self, tokenized: TokenizedItem, prediction: Prediction, *, model_name: str, limits: Limits) -> Outcome:
        """Return one message, or one dead letter if a task failed.

        Raises `RecordFailed` if the value cannot be encoded, and `InvariantBroken` for a number that is not finite.
        """
        record = tokenized.item.record
        if prediction.failures:
            failure = prediction.failures[0]
            whole = replace(failure, message=f"{failure.task}: {failure.message}" if failure.task else failure.message, task=None)
            return encode_dead_letter(record, whole, model_name=model_name, limits=limits)
        try:
            value = self.serialize(self.output, record, self.build_value(tokenized, prediction, model_name))
        except orjson.JSONEncodeError as error:
            raise RecordFailed(f"the input cannot be part of an output: {error}") from None
        text_headers = (
            ("gist-tokens", b"%d" % len(tokenized.tokens)),
            ("gist-truncated", b"true" if tokenized.tokens.truncated else b"false"),
        )
        event = build_event_headers(record, self.output, marks=(model_name,))
        headers = copy_headers(record) + event + build_source_headers(record, model_name) + text_headers
        return Outcome(record, (Message(self.output, record.key, value, headers),))

    def encode_tombstone(self, tombstone: Tombstone) -> Outcome:
        """Return a tombstone for the topic of the layout."""
        record = tombstone.record
        event = build_event_headers(record, self.output, is_tombstone=True)
        headers = copy_headers(record) + event + build_source_headers(record, None)
        return Outcome(record, (Message(self.output, record.key, None, headers),))


def build_layout(
    output: Output,
    *,
    encoding: EmbeddingEncoding,
    result_field: str,
    collection: str,
    has_origin: bool = False,
    read_fields: Callable[[Record], Mapping[str, Any]] = _READ_CONTRACT,
    serialize: Serialize = dump_json,
) -> Layout:
    """Return the layout of one of the outputs `ENRICHED`, `FLAT` and `QDRANT`; `read_fields` reads the input."""

    def build_enriched(tokenized: TokenizedItem, prediction: Prediction, model_name: str) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if prediction.embedding is not None:
            fields = build_embedding_fields(prediction.embedding, encoding)
        fields |= _build_results(tokenized, prediction, model_name)
        if has_origin:
            fields |= build_origin_fields(tokenized.item.record, model_name)
        return {**read_fields(tokenized.item.record), result_field: fields}

    def build_flat(tokenized: TokenizedItem, prediction: Prediction, model_name: str) -> dict[str, Any]:
        value: dict[str, Any] = {"id": tokenized.item.id, "text": tokenized.item.text}
        if prediction.embedding is not None:
            value |= build_embedding_fields(prediction.embedding, encoding)
        results = _build_results(tokenized, prediction, model_name)
        # A JDBC sink has no type for a list of objects. It writes a string of JSON to a column of type `jsonb`.
        documents = {name: orjson.dumps(results[name]).decode() for name in _DOCUMENTS if name in results}
        return value | results | documents

    def build_point(tokenized: TokenizedItem, prediction: Prediction, model_name: str) -> dict[str, Any]:
        if prediction.embedding is None:
            raise RecordFailed("a point of Qdrant needs a vector, and the record does not request the task embed")
        item = tokenized.item
        payload = {**read_fields(item.record), "id": item.id, result_field: _build_results(tokenized, prediction, model_name)}
        vector = build_embedding_fields(prediction.embedding, EmbeddingEncoding.FLOAT)["embedding"]
        return {"collection_name": collection, "id": build_point_id(item.id), "vector": vector, "payload": payload}

    builders = {Output.ENRICHED: build_enriched, Output.FLAT: build_flat, Output.QDRANT: build_point}
    return Layout(output=output, build_value=builders[output], serialize=serialize)


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
