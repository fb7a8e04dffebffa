"""Reads the headers of a record and builds the headers of its outputs. Pure.

the record's own headers ─▶ without headers about its value ─▶ + attributes of an event ─▶ + origin
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from worker.records import Output

if TYPE_CHECKING:
    from worker.records import Headers, Record

# The prefix of the worker's own headers. They are replaced, so that an output can be an input again.
_OWN_PREFIX = "gist-"
_CONTENT_TYPE, _JSON = "content-type", b"application/json"
# Lower-case names of headers about the record's value: class, schema, encoding. An output has another value, which a
# consumer could not read with such a header. Headers about the key are kept, because outputs have the same key.
_ABOUT_THE_VALUE = frozenset(
    {
        # Spring for Apache Kafka: the class of the value and of the headers.
        "__typeid__",
        "__contenttypeid__",
        "__keytypeid__",
        "spring_json_header_types",
        # Spring Integration and Spring Cloud Stream. Without `contentType` they read a value as JSON.
        "json__typeid__",
        "json__contenttypeid__",
        "json__keytypeid__",
        "json_resolvabletype",
        "contenttype",
        # Axon.
        "axon-message-type",
        "axon-message-revision",
        # The schema registries of Confluent and Cloudera. Apicurio's names have a prefix.
        "__value_schema_id",
        "value.schema.version.id",
        # As in HTTP.
        "content-encoding",
        "content-length",
    }
)
_PREFIXES_ABOUT_THE_VALUE = (_OWN_PREFIX, "apicurio.value.")
_SPEC_VERSION, _EVENT_ID, _CAUSE = "ce_specversion", "ce_id", "ce_causationid"
# Attributes of a CloudEvent that are not copied: an output has its own, or none because the attribute is about the data.
_EVENT_ATTRIBUTES = frozenset(
    {
        _SPEC_VERSION,
        _EVENT_ID,
        _CAUSE,
        "ce_type",
        "ce_dataschema",
        "ce_datacontenttype",
        "ce_dataref",
        "ce_schemaurl",
        "ce_datacontentencoding",
    }
)
# Names of the schemas of version 1 of the wire contract.
_SCHEMAS = {
    Output.EMBEDDINGS: "embedding",
    Output.LABELS: "labels",
    Output.ENTITIES: "entities",
    Output.DEAD_LETTERS: "dead_letter",
    Output.ENRICHED: "enriched",
    Output.FLAT: "flat",
    Output.QDRANT: "qdrant_point",
}
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "gist-stream")


def read_headers(headers: Headers) -> dict[str, bytes]:
    """Return the last value of each name, as in Kafka's own clients. A null value counts as no header."""
    return {name: value for name, value in dict(headers).items() if value is not None}


def copy_headers(record: Record) -> Headers:
    """Return the headers of a record that its outputs keep, with the content type of the outputs."""
    if not record.headers:
        return ()
    is_event = _is_event(record)
    kept: list[tuple[str, bytes | None]] = []
    for name, value in record.headers:
        lower = name.lower()
        if lower == _CONTENT_TYPE:
            kept.append((name, _JSON))
        elif not (
            lower in _ABOUT_THE_VALUE or lower.startswith(_PREFIXES_ABOUT_THE_VALUE) or (is_event and name in _EVENT_ATTRIBUTES)
        ):
            kept.append((name, value))
    return tuple(kept)


def build_event_headers(record: Record, output: Output, *, is_tombstone: bool = False, marks: tuple[str, ...] = ()) -> Headers:
    """Return the attributes that make an output of a binary CloudEvent a CloudEvent; none for other records.

    The id is the same when the same output is published again. The id depends on source and id of the record's event,
    on the output, and on `marks`: the model and other properties of the output.
    """
    if not _is_event(record):
        return ()
    schema, given = _SCHEMAS[output], read_headers(record.headers)
    kind = f"gist-stream.{schema}{'.tombstone' if is_tombstone else ''}.v1"
    cause = given.get(_EVENT_ID)
    # An event without an id is identified by partition and offset.
    identity = [cause.decode("latin-1")] if cause else [str(record.partition), str(record.offset)]
    parts = [given.get("ce_source", b"").decode("latin-1"), identity, kind, *marks]
    attributes: list[tuple[str, bytes | None]] = [
        (_SPEC_VERSION, b"1.0"),
        (_EVENT_ID, str(uuid.uuid5(_NAMESPACE, json.dumps(parts))).encode()),
        ("ce_type", kind.encode()),
    ]
    if cause:
        attributes.append((_CAUSE, cause))
    if not is_tombstone:
        attributes.append(("ce_dataschema", f"urn:gist-stream:v1:{schema}".encode()))
        # The data of an event needs a content type.
        attributes += [(_CONTENT_TYPE, _JSON)] * (_CONTENT_TYPE not in dict(record.headers))
    return tuple(attributes)


def build_source_headers(record: Record, model_name: str | None) -> Headers:
    """Return the headers of the origin of an output, and of the model if any."""
    origin = (
        ("gist-source-topic", record.partition.topic.encode()),
        ("gist-source-partition", b"%d" % record.partition.index),
        ("gist-source-offset", b"%d" % record.offset),
        ("gist-source-timestamp", b"%d" % record.timestamp_ms),
    )
    return origin + ((("gist-model", model_name.encode()),) if model_name else ())


def _is_event(record: Record) -> bool:
    return dict(record.headers).get(_SPEC_VERSION) is not None
