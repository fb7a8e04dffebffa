"""Input records: the decoder accepts what the request schema allows, and reads CloudEvents by their Kafka binding."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import schemas
from schemas.__main__ import FOLDER
from worker.errors import InvalidRecord
from worker.records import Headers, Item, Partition, Record, Task
from worker.wire.decode import Limits, decode

LIMITS = Limits()
VALIDATOR = jsonschema.Draft202012Validator(json.loads((Path(FOLDER) / "request.schema.json").read_text()))


def read(value: bytes, *headers: tuple[str, bytes]) -> Item:
    """Decode a record that is not a tombstone."""
    found: Headers = headers
    decoded = decode(Record(Partition("texts", 0), 7, b"k", value, found), limits=LIMITS, tasks=frozenset(Task))
    assert isinstance(decoded, Item)
    return decoded


def refusal(value: bytes) -> str:
    """Return the reason why a value is refused, or an empty string if it is decoded."""
    try:
        read(value)
    except InvalidRecord as error:
        return str(error)
    return ""


# JSON Schema counts 1.0 as an integer, and the decoder does not.
FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
VALUES = st.none() | st.booleans() | st.integers(-9, 9) | FLOATS | st.text(max_size=5)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "text": VALUES | st.lists(VALUES, max_size=2),
        "id": VALUES,
        "tasks": VALUES | st.lists(st.sampled_from(["embed", "classify", "ner", "other", 1, None]), max_size=3),
        "more": VALUES,
    },
)


@given(request=REQUESTS)
def test_the_decoder_accepts_what_the_schema_allows(request: dict[str, Any]) -> None:
    """Each decoded request is valid, and a valid request is refused only for a rule that no schema can express."""
    try:
        schemas.Request.model_validate(request, strict=True)
        is_valid = True
    except ValidationError:
        is_valid = False
    assert VALIDATOR.is_valid(request) == is_valid
    reason = refusal(orjson.dumps(request))
    if is_valid:
        assert not reason or "blank" in reason or "control character" in reason
    else:
        assert reason


@pytest.mark.parametrize("text", ["\0", "\u3000\u2003", "\r\n", "\x1c\x01\x7f\x85", "\ufeff \u200b", "\u2800"])
def test_a_text_of_nothing_but_space_is_blank(text: str) -> None:
    """Every white-space character of Unicode counts."""
    assert refusal(json.dumps({"text": text}).encode()) == "the text is blank"


EVENT = {"specversion": "1.0", "id": "e-1", "source": "/s", "type": "text.created"}
STRUCTURED = ("content-type", b"application/cloudevents+json; charset=UTF-8")
BINARY = (("ce_specversion", b"1.0"), ("ce_id", b"e-1"), ("ce_source", b"/s"), ("ce_type", b"text.created"))


@pytest.mark.parametrize("data", [{"text": "naïve"}, "naïve"], ids=["object", "string"])
def test_an_event_means_the_same_in_every_mode(data: object) -> None:
    """The structured, structured base64 and binary modes give the same text, and the id of the event."""
    encoded = json.dumps(data).encode()
    items = [
        read(json.dumps(EVENT | {"data": data}).encode(), STRUCTURED),
        read(json.dumps(EVENT | {"data": data}).encode()),
        read(json.dumps(EVENT | {"data_base64": base64.b64encode(encoded).decode()}).encode(), STRUCTURED),
        read(encoded, *BINARY, ("content-type", b"application/json")),
        read(encoded, *BINARY, ("content-type", b"application/vnd.texts.v1+json")),
        read(encoded, *BINARY),
    ]
    assert {(item.text, item.id) for item in items} == {("naïve", "e-1")}


def test_plain_text_may_be_the_data_of_an_event() -> None:
    """The text is the value in binary mode, and base64 in structured mode."""
    structured = EVENT | {"datacontenttype": "text/plain", "data_base64": base64.b64encode("{naïve".encode()).decode()}
    assert read(json.dumps(structured).encode(), STRUCTURED).text == "{naïve"
    assert read("{naïve".encode(), *BINARY, ("content-type", b"text/plain;charset=utf-8")).text == "{naïve"


def test_an_event_of_another_charset_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="must be UTF-8, not 'utf-16'"):
        read("text".encode("utf-16"), *BINARY, ("content-type", b"text/plain; charset=utf-16"))
    structured = EVENT | {"datacontenttype": "text/plain; charset=latin-1", "data_base64": "6Q=="}
    with pytest.raises(InvalidRecord, match="must be UTF-8, not 'latin-1'"):
        read(json.dumps(structured).encode(), STRUCTURED)


def test_the_content_type_of_an_event_format_goes_before_the_headers() -> None:
    """In the Kafka binding the content type selects the structured mode, and the `ce_` headers are copies."""
    value = json.dumps(EVENT | {"id": "inside", "data": "text"}).encode()
    assert read(value, ("ce_specversion", b"1.0"), ("ce_id", b"outside"), STRUCTURED).id == "inside"


def test_an_object_with_a_text_is_no_event() -> None:
    """A request with a text may have a field with the name `specversion`."""
    assert read(b'{"text": "plain", "specversion": "7"}').text == "plain"
