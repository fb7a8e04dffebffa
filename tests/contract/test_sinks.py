"""Records of the layouts against what the connectors of docs/use/sinks.md read, by their documentation and source."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.makers import tokenized
from worker.records import Classification, Message, Output, PredictedEntity, Prediction, Record, Tombstone
from worker.wire.decode import Limits
from worker.wire.encode import EmbeddingEncoding
from worker.wire.layouts import build_layout

PAGE = Path(__file__).parents[2] / "docs" / "use" / "sinks.md"
_MAX_INT64 = 2**63 - 1
_MAX_DOCUMENT_ID_BYTES = 512
IDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=64) | st.uuids().map(str)
PREDICTION = Prediction(
    embedding=np.array([0.6, -0.8], dtype=np.float32),
    labels={"sentiment": Classification("positive", 0.75, {"positive": 0.75})},
    entities=(PredictedEntity("PER", "Ada", 0, 3, 0.9, "ner"),),
)


def write(output: Output, identity: str) -> Message:
    """Return the message of a record with this id, which is also its key."""
    value = orjson.dumps({"id": identity, "text": "Ada", "customer": {"id": 7, "tags": ["a"]}})
    made = tokenized(1, 3)
    record = Record(made.item.record.partition, 1, identity.encode(), value)
    item = replace(made, item=replace(made.item, id=identity, record=record))
    layout = build_layout(output, encoding=EmbeddingEncoding.FLOAT, result_field="gist", collection="texts")
    (message,) = layout.encode(item, PREDICTION, model_name="m@1", limits=Limits()).messages
    return message


def read_configuration(name: str) -> dict[str, str]:
    """Return the configuration of a connector on the page."""
    found = re.search(rf"<!-- example: {name} -->\n```properties\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return dict(line.split("=", 1) for line in re.sub(r"\\\n\s*", "", found[1]).splitlines())


@given(identity=IDS)
def test_qdrant_reads_collection_id_vector_and_payload(identity: str) -> None:
    """The id is a UUID or a number of at most 63 bits, the vector a list of numbers, the payload an object."""
    value = orjson.loads(write(Output.QDRANT, identity).value or b"")
    assert isinstance(value["collection_name"], str)
    point = value["id"]
    assert 0 <= point <= _MAX_INT64 if isinstance(point, int) else uuid.UUID(point)
    assert all(isinstance(number, float) for number in value["vector"])
    assert isinstance(value["payload"], dict)


@given(identity=IDS)
def test_search_engines_read_an_object_and_a_key(identity: str) -> None:
    """The value is an object without a schema, the vector a flat list, and the key a document id of at most 512 bytes."""
    message = write(Output.ENRICHED, identity)
    value = orjson.loads(message.value or b"")
    assert isinstance(value, dict)
    assert all(isinstance(number, float) for number in value["gist"]["embedding"])
    assert 0 < len(message.key or b"") <= _MAX_DOCUMENT_ID_BYTES
    assert (message.key or b"").decode()


def test_mongodb_reads_a_document_without_an_id_of_its_own() -> None:
    """`_id` comes from the key, and no name of a field of ours begins with a dollar sign or contains a dot."""
    value = orjson.loads(write(Output.ENRICHED, "a").value or b"")
    assert "_id" not in value

    def names(field: Any) -> list[str]:
        inner = [] if not isinstance(field, dict) else [name for inner in field.values() for name in names(inner)]
        return [*field, *inner] if isinstance(field, dict) else []

    assert not [name for name in names(value["gist"]) if name.startswith("$") or "." in name]


def test_milvus_reads_a_flat_object_with_one_vector() -> None:
    """Every field is a string, a number or a boolean, but for one list of numbers: the connector casts by the collection's type."""
    value = orjson.loads(write(Output.FLAT, "a").value or b"")
    lists = [name for name, field in value.items() if isinstance(field, list)]
    assert lists == ["embedding"]
    assert all(isinstance(field, str | int | float | bool) for name, field in value.items() if name != "embedding")


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("jdbc", "flat"),
        ("qdrant", "qdrant"),
        ("elasticsearch", "enriched"),
        ("opensearch", "enriched"),
        ("mongodb", "enriched"),
        ("milvus", "flat"),
    ],
)
def test_each_configuration_reads_the_topic_of_its_layout(name: str, layout: str) -> None:
    """The key is a string, the value JSON, and the connector reads the default topic of the layout in the table."""
    values = read_configuration(name)
    assert values["topics"] == f"texts.{layout}"
    assert values.get("key.converter", "org.apache.kafka.connect.storage.StringConverter").endswith("StringConverter")
    assert values["value.converter"] == "org.apache.kafka.connect.json.JsonConverter"
    assert (values["value.converter.schemas.enable"] == "true") == ("value.converter.schema.content" in values)
    assert values["connector.class"].count(".") >= 3


@pytest.mark.parametrize("output", [Output.ENRICHED, Output.FLAT, Output.QDRANT])
def test_a_delete_is_a_key_without_a_value(output: Output) -> None:
    """Sinks that delete by tombstone need the key of the earlier message and a null value."""
    layout = build_layout(output, encoding=EmbeddingEncoding.FLOAT, result_field="gist", collection="texts")
    record = Record(tokenized(1, 3).item.record.partition, 2, b"a", None)
    (message,) = layout.encode_tombstone(Tombstone(record)).messages
    assert (message.key, message.value) == (write(output, "a").key, None)
