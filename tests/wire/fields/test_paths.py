"""Paths and templates: any path that is written for names leads to its value, and a template leaves out what is absent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.errors import InvalidRecord
from worker.wire.fields.paths import FieldPath, TextTemplate

NAMES = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5)


@given(names=NAMES)
def test_a_path_with_escapes_leads_through_any_names(names: list[str]) -> None:
    """A backslash before each dot and backslash of a name makes the name a part of a path."""
    value: object = "found"
    for name in reversed(names):
        value = {name: value}
    written = ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)
    path = FieldPath.parse(written)
    assert path.names == tuple(names)
    assert isinstance(value, dict)
    assert path.find(value) == "found"


@given(written=st.text(max_size=12))
def test_any_text_is_a_path_or_is_refused(written: str) -> None:
    """Parsing raises `ValueError` and no other exception."""
    try:
        path = FieldPath.parse(written)
    except ValueError:
        return
    assert path.find({}) is None


@pytest.mark.parametrize(
    ("written", "reason"), [("", "empty"), ("a..b", "empty"), (".a", "empty"), ("a\\", "precedes"), (r"a\b", "'b'")]
)
def test_a_malformed_path_is_refused_with_the_reason(written: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        FieldPath.parse(written)


def test_a_number_is_an_index_of_a_list_and_a_name_in_an_object() -> None:
    """An index past the end, and a name in a list or a string, find nothing."""
    fields = {"items": [{"text": "a"}, {"text": "b"}], "codes": {"1": "one"}, "text": "abc"}
    found = {
        written: FieldPath.parse(written).find(fields)
        for written in ("items.1.text", "codes.1", "items.2.text", "text.0", "items.x")
    }
    assert found == {"items.1.text": "b", "codes.1": "one", "items.2.text": None, "text.0": None, "items.x": None}
    assert FieldPath.parse("items." + "9" * 5_000).find(fields) is None


@pytest.mark.parametrize(
    ("written", "fields", "text"),
    [
        (r"{title}\n\n{body}", {"title": "T", "body": "B"}, "T\n\nB"),
        (r"{title}\n\n{body}", {"title": None, "body": "B"}, "B"),
        (r"{title}\n\n{body}", {"title": "T", "body": " "}, "T"),
        ("Title: {title}, by {author}.", {"title": "T", "author": "A"}, "Title: T, by A."),
        ("Title: {title}, by {author}.", {"author": "A"}, "by A."),
        ("Title: {title}, by {author}.", {"title": "T"}, "Title: T"),
        ("{title} ({year})", {"title": "T", "year": 1843}, "T (1843)"),
        ("{title} ({year})", {"title": "T"}, "T"),
        ("{{{a.0}}}", {"a": ["x"]}, "{x}"),
        ("{a}-{b}-{c}", {"a": "1", "c": "3"}, "1-3"),
        ("{a}-{b}-{c}", {}, None),
    ],
)
def test_a_template_leaves_absent_fields_out_with_their_separators(
    written: str, fields: dict[str, object], text: str | None
) -> None:
    assert TextTemplate.parse(written).read_text(fields) == text


@given(values=st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), st.just(""), st.text("xyz", min_size=1))))
def test_a_template_joins_the_present_fields(values: dict[str, str | None]) -> None:
    """With separators alone, the text is the present values with one separator between two of them."""
    present = [value for name in "abc" if (value := values.get(name))]
    assert TextTemplate.parse(r"{a}\n{b}\n{c}").read_text(values) == ("\n".join(present) or None)


@pytest.mark.parametrize(
    ("written", "reason"),
    [("plain", "no field"), ("{a} {b", "not closed"), ("a}", "not closed"), ("{}", "not closed"), ("{a..b}", "empty")],
)
def test_a_malformed_template_is_refused_with_the_reason(written: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        TextTemplate.parse(written)


def test_an_object_is_no_text_of_a_template() -> None:
    with pytest.raises(InvalidRecord, match="`a` must be a string or a number, not a list"):
        TextTemplate.parse("{a}").read_text({"a": [1]})
