"""Field names of input records: they show the shape of the data, and never a value."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.makers import PARTITION, record
from worker.records import UnreadableRange
from worker.wire.fields.names import describe_fields


def test_the_most_frequent_names_come_first_with_those_one_level_below() -> None:
    """The fields of a nested object follow its name."""
    values = [b'{"body": 1}', b'{"payload": {"text": "x", "id": 2}, "body": 3}']
    assert (
        describe_fields(record(n, value) for n, value in enumerate(values))
        == "fields seen: body, payload, payload.text, payload.id"
    )


def test_a_value_that_is_no_json_object_has_no_fields() -> None:
    """Other JSON, bytes, tombstones, unreadable ranges and huge values give no names."""
    huge = json.dumps({"name": "x" * 100_000}).encode()
    sources = [record(0, value) for value in (b"[1]", b"\xff", b"", b'"text"', None, huge)]
    hole = UnreadableRange(PARTITION, 0, 5, "CorruptRecordError", "why")
    assert describe_fields([*sources, hole]) == "no value was a JSON object"


@given(st.lists(st.dictionaries(st.text(max_size=100), st.sampled_from(["value-xyz", 1, {"inner": "value-xyz"}]), max_size=30)))
def test_the_phrase_is_one_short_printable_line_without_values(objects: list[dict[str, object]]) -> None:
    """The line is short and printable for any names."""
    phrase = describe_fields(record(n, json.dumps(value).encode()) for n, value in enumerate(objects))
    assert phrase.isprintable()
    assert len(phrase) < 10 * 10 * 42
    assert "value-xyz" not in phrase
