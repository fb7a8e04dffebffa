"""What is read from a record's headers, and which headers its outputs carry. Pure.

the record's own headers ─▶ without those that describe its value ─▶ + attributes of an event ─▶ + where it came from
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

from worker.records import Output

if TYPE_CHECKING:
    from worker.records import Headers, Record

# Our own headers; what comes in under this prefix is replaced, so that an output can be an input again.
_OURS = "gist-"
_CONTENT_TYPE, _JSON = "content-type", b"application/json"
# Names, in lower case, of headers that describe the record's value: its class, its schema, its encoding. An output has another
# value, which a consumer that obeys such a header fails to read. Headers about the record's key are kept, as the key is.
_ABOUT_THE_VALUE = frozenset(
    {
        # Spring for Apache Kafka: the value's class, and the classes of the headers, these among them.
        "__typeid__",
        "__contenttypeid__",
        "__keytypeid__",
        "spring_json_header_types",
        # Spring Integration and Spring Cloud Stream; without `contentType` they take a value for JSON.
        "json__typeid__",
        "json__contenttypeid__",
        "json__keytypeid__",
        "json_resolvabletype",
        "contenttype",
        # Axon.
        "axon-message-type",
        "axon-message-revision",
        # The schema registries of Confluent and of Cloudera; Apicurio's names have a prefix.
        "__value_schema_id",
        "value.schema.version.id",
        # As in HTTP.
        "content-encoding",
        "content-length",
    }
)
_PREFIXES_ABOUT_THE_VALUE = (_OURS, "apicurio.value.")
_SPEC_VERSION, _EVENT_ID, _CAUSE = "ce_specversion", "ce_id", "ce_causationid"
# Attributes of a CloudEvent that an output has of its own, or not at all because they describe the data.
_OF_AN_EVENT = frozenset(
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
}
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "gist-stream")


def read_headers(headers: Headers) -> dict[str, bytes]:
    """Return the value of each name, the last one as in Kafka's own clients; a null value is as good as no header."""
    return {name: value for name, value in dict(headers).items() if value is not None}


def copy_headers(record: Record) -> Headers:
    """Return the record's own headers that its outputs keep, with the type of our value in place of the type of its own."""
    is_event = _is_event(record)
    kept: list[tuple[str, bytes | None]] = []
    for name, value in record.headers:
        lower = name.lower()
        if lower == _CONTENT_TYPE:
            kept.append((name, _JSON))
        elif not (lower in _ABOUT_THE_VALUE or lower.startswith(_PREFIXES_ABOUT_THE_VALUE) or (is_event and name in _OF_AN_EVENT)):
            kept.append((name, value))
    return tuple(kept)


def build_event_headers(record: Record, output: Output, *, is_tombstone: bool = False, marks: tuple[str, ...] = ()) -> Headers:
    """Return the attributes by which an output of a CloudEvent in binary mode is an event of its own; none for another record.

    The id is the same whenever the same output is published again. It differs by source and id of the record's event, by output,
    and by `marks`: the model, and what else tells one output from another.
    """
    if not _is_event(record):
        return ()
    schema, given = _SCHEMAS[output], read_headers(record.headers)
    kind = f"gist-stream.{schema}{'.tombstone' if is_tombstone else ''}.v1"
    cause = given.get(_EVENT_ID)
    # A record without an id is told from others by its place.
    told_by = [cause.decode("latin-1")] if cause else [str(record.partition), str(record.offset)]
    parts = [given.get("ce_source", b"").decode("latin-1"), told_by, kind, *marks]
    found: list[tuple[str, bytes | None]] = [
        (_SPEC_VERSION, b"1.0"),
        (_EVENT_ID, str(uuid.uuid5(_NAMESPACE, json.dumps(parts))).encode()),
        ("ce_type", kind.encode()),
    ]
    if cause:
        found.append((_CAUSE, cause))
    if not is_tombstone:
        found.append(("ce_dataschema", f"urn:gist-stream:v1:{schema}".encode()))
        # Without it an event's data has no type.
        found += [(_CONTENT_TYPE, _JSON)] * (_CONTENT_TYPE not in dict(record.headers))
    return tuple(found)


def build_source_headers(record: Record, model_name: str | None) -> Headers:
    """Return where an output came from, and the model that made it, where one did."""
    origin = (
        ("gist-source-topic", record.partition.topic.encode()),
        ("gist-source-partition", b"%d" % record.partition.index),
        ("gist-source-offset", b"%d" % record.offset),
        ("gist-source-timestamp", b"%d" % record.timestamp_ms),
    )
    return origin + ((("gist-model", model_name.encode()),) if model_name else ())


def _is_event(record: Record) -> bool:
    return _SPEC_VERSION in read_headers(record.headers)
