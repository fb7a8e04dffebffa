"""Turn rows with named columns into labelled or tagged texts. Pure.

The type of the label decides the kind of the data:

    "pos", 1, true                          a text and its label
    ["news", "sport"], []                   a text and its labels
    [{"start": 0, "end": 3, "label": "PER"}]    a text and its entities, in code points (`type` may stand for `label`)
    ["B-PER", "O"]                          tags, where the text is a list of words
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from worker.errors import BadSettings
from worker.training.data import schemes
from worker.training.data.examples import DataSource, LabelledData, LabelledText, Problem, Span, TaggedData, TaggedText
from worker.training.data.readers.lines import shorten
from worker.training.data.schemes import Sentence, build_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from pathlib import Path

    from worker.training.data.examples import Data
    from worker.training.data.layout import Layout

# Names of columns in published data sets, in order of precedence.
_TEXT_NAMES = ("text", "sentence", "tweet", "content", "message", "review", "comment", "body", "document", "tokens", "words")
_SPAN_NAMES = ("spans", "entities")
_LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "target", *_SPAN_NAMES, "ner_tags", "tags")
# By column of Prodigy, Label Studio and Argilla: the answers of annotators in lower case, accepted and rejected.
_ANSWERS = {
    "answer": ({"accept"}, {"reject", "ignore"}),
    "was_cancelled": ({"false", "0"}, {"true", "1"}),
    "status": ({"default", "edited", "validated"}, {"discarded"}),
}
#: The number of the row or of its line, and its values by column.
Row: TypeAlias = tuple[int, Mapping[str, object]]
ExampleT = TypeVar("ExampleT")


class Value(NamedTuple):
    """The two values that are read from a row."""

    line: int
    text: object
    label: object


class _Unfit(ValueError):
    """A value does not fit its column; the message has the reason."""


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The names of the two columns that are read."""

    text: str
    label: str


def build_data(path: Path, format_name: str, rows: Sequence[Row], layout: Layout, broken: list[Problem]) -> Data:
    """Return the texts of a file's rows, with the `broken` rows in their source; raises `BadSettings` for a file without rows."""
    if not rows and not broken:
        raise BadSettings(f"{path}: the file has no row")
    if not rows:
        return LabelledData(DataSource(path, broken=tuple(broken)), ())
    columns = detect_columns(path, list(dict.fromkeys(name for _, row in rows for name in row)), layout)
    accepted = list(_select_accepted(rows, others={columns.text, columns.label}))
    if not accepted:
        raise BadSettings(f"{path}: annotators rejected or skipped every text ({len(rows)})")
    values = list(_select_values(path, accepted, columns, broken))
    source = DataSource(path, f"{format_name}, text in {columns.text!r}, label in {columns.label!r}")
    found = _convert_values(source, columns, values, layout, broken)
    num_rejected = len(rows) - len(accepted)
    return replace(found, source=replace(found.source, broken=tuple(broken), num_rejected=num_rejected))


def _convert_values(
    source: DataSource, columns: TableColumns, values: Sequence[Value], layout: Layout, broken: list[Problem]
) -> LabelledData | TaggedData:
    """Return labelled or tagged texts, depending on the labels."""
    first = next((value.label for value in values if value.label != []), [])
    if any(isinstance(value.text, list) for value in values[:1]):
        return _read_tagged_words(source, values, layout, broken)
    if isinstance(first, list) and (
        any(isinstance(span, Mapping) for span in first) or (not first and columns.label in _SPAN_NAMES)
    ):
        return TaggedData(source, tuple(_read(source.path, values, _read_tagged, broken)))
    is_multi_label = isinstance(first, list) or layout.label_separator is not None
    read_labelled = partial(_read_labelled, separator=layout.label_separator, is_multi_label=is_multi_label)
    return LabelledData(source, tuple(_read(source.path, values, read_labelled, broken)), is_multi_label)


def _select_accepted(rows: Sequence[Row], *, others: Collection[str]) -> Iterator[Row]:
    """Yield the rows that no annotator rejected or skipped.

    A column holds answers if it has a tool's name, has only the tool's values, and is none of `others`. A column `answer` with
    other values belongs to the data.
    """

    def read_answer(row: Row, name: str) -> str:
        value = row[1].get(name)
        return "" if value is None else str(value).strip().lower()

    columns = [
        name
        for name, (accepted, rejected) in _ANSWERS.items()
        if name not in others and all(read_answer(row, name) in {"", *accepted, *rejected} for row in rows)
    ]
    return (row for row in rows if not any(read_answer(row, name) in _ANSWERS[name][1] for name in columns))


def detect_columns(path: Path, names: Sequence[str], layout: Layout) -> TableColumns:
    """Return the columns that the layout names, else the columns with usual names; raises `BadSettings` if there are none."""
    text = _choose_column(path, names, layout.text_column, _TEXT_NAMES, "text")
    others = [name for name in names if name != text]
    return TableColumns(text, _choose_column(path, others, layout.label_column, _LABEL_NAMES, "label", all_names=names))


def has_usual_names(names: Iterable[str]) -> bool:
    """Return whether a header has a usual name for the text and for the label."""
    lowered = {name.strip().lower() for name in names}
    return bool(lowered & set(_TEXT_NAMES)) and bool(lowered & set(_LABEL_NAMES))


def _choose_column(
    path: Path, names: Sequence[str], given: str | None, usual: Sequence[str], what: str, *, all_names: Sequence[str] | None = None
) -> str:
    every = all_names or names
    if given is not None:
        if given in names:
            return given
        if given.isdecimal() and 1 <= int(given) <= len(every):
            return every[int(given) - 1]
        raise BadSettings(f"{path}: no column {given!r} for the {what}: its columns are {', '.join(every)}")
    by_lower = {name.lower(): name for name in reversed(names)}
    found = next((by_lower[name] for name in usual if name in by_lower), None)
    if found is None and all_names is not None and len(names) == 1:
        return names[0]
    if found is None:
        named_by = f"(--{what}-column, or {what}_column in a run's TOML file)"
        raise BadSettings(f"{path}: which column is the {what}? Name one of {', '.join(every)} {named_by}")
    return found


def _select_values(path: Path, rows: Iterable[Row], columns: TableColumns, broken: list[Problem]) -> Iterator[Value]:
    for line, row in rows:
        missing = [name for name in (columns.text, columns.label) if row.get(name) is None]
        if missing:
            broken.append(Problem(path, line, f"no value for {missing[0]!r}"))
        else:
            yield Value(line, row[columns.text], row[columns.label])


def _read(
    path: Path, values: Iterable[Value], read_example: Callable[[Value], ExampleT], broken: list[Problem]
) -> Iterator[ExampleT]:
    for value in values:
        try:
            yield read_example(value)
        except _Unfit as unfit:
            broken.append(Problem(path, value.line, str(unfit)))


def _read_labelled(value: Value, separator: str | None, *, is_multi_label: bool) -> LabelledText:
    label = value.label
    if is_multi_label and separator is not None and isinstance(label, str):
        label = [part.strip() for part in label.split(separator) if part.strip()]
    if isinstance(label, list) is not is_multi_label:
        raise _Unfit(f"{'one label' if is_multi_label else 'a list'} where other rows have {'lists' if is_multi_label else 'one'}")
    labels = tuple(dict.fromkeys(map(_read_label, label if isinstance(label, list) else [label])))
    return LabelledText(_read_text(value), labels, value.line)


def _read_label(label: object) -> str:
    """Return the name of a label, as it would be in CSV."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, int):
        return str(label)
    if isinstance(label, str) and label.strip():
        return label.strip()
    raise _Unfit(f"not a label (a name or a whole number): {shorten(label)}")


def _read_text(value: Value) -> str:
    if not isinstance(value.text, str):
        raise _Unfit(f"not a text: {shorten(value.text)}")
    return value.text


def _read_tagged(value: Value) -> TaggedText:
    text = _read_text(value)
    if not isinstance(value.label, list):
        raise _Unfit(f"not a list of spans: {shorten(value.label)}")
    spans = sorted((_read_span(span, len(text)) for span in value.label), key=lambda span: span.start)
    for one, next_one in pairwise(spans):
        if one.end > next_one.start:
            raise _Unfit(f"spans overlap: {one.start} to {one.end} and {next_one.start} to {next_one.end}")
    return TaggedText(text, tuple(spans), value.line)


def _read_span(value: object, length: int) -> Span:
    if not isinstance(value, Mapping):
        raise _Unfit(f"not a span: {shorten(value)}")
    start, end, kind = value.get("start"), value.get("end"), value.get("label", value.get("type"))
    if type(start) is not int or type(end) is not int or not isinstance(kind, str) or not kind:
        raise _Unfit(f"a span needs whole numbers start and end, and a label: {shorten(dict(value))}")
    if not 0 <= start < end <= length:
        raise _Unfit(f"span {start} to {end} is not inside the text, which has {length} characters")
    return Span(kind, start, end)


def _read_tagged_words(source: DataSource, values: Sequence[Value], layout: Layout, broken: list[Problem]) -> TaggedData:
    sentences = list(_read(source.path, values, _read_sentence, broken))
    scheme = layout.scheme or schemes.detect_scheme(sentence.tags for sentence in sentences)
    foreign = {sentence: tag for sentence in sentences for tag in sentence.tags if not schemes.is_scheme_tag(tag, scheme)}
    broken += [
        Problem(source.path, sentence.lines[0], f"not a tag of {scheme}: {shorten(tag)}") for sentence, tag in foreign.items()
    ]
    kept = [sentence for sentence in sentences if sentence not in foreign]
    texts, malformed = build_texts(source.path, kept, scheme, joins_handles=layout.joins_handles)
    return TaggedData(replace(source, read_as=f"{source.read_as}, {scheme}", malformed=tuple(malformed)), tuple(texts))


def _read_sentence(value: Value) -> Sentence:
    words, tags = value.text, value.label
    if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags) or not words:
        raise _Unfit(f"the numbers of tags and words differ: {shorten(tags)} for {shorten(words)}")
    if reason := next(filter(None, map(_refuse_word, words, tags)), None):
        raise _Unfit(reason)
    return Sentence(tuple(map(str, words)), tuple(tags), (value.line,) * len(words))


def _refuse_word(word: object, tag: object) -> str | None:
    """Return why a word or its tag cannot be read; None for a word (or number) with a tag."""
    if isinstance(word, bool) or not isinstance(word, str | int | float):
        return f"not a word: {shorten(word)}"
    if isinstance(tag, int | float) and not isinstance(tag, bool):
        return f"the tag {shorten(tag)} is a number: replace numbers by the names of the tags, such as B-PER"
    return None if isinstance(tag, str) and schemes.is_tag(tag) else f"not a tag: {shorten(tag)}"
