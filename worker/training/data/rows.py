"""Rows with named columns, from wherever they come, to labelled or tagged texts. Pure.

What a row's label is decides what the data are:

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
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from worker.errors import BadSettings
from worker.training.data import answers, schemes
from worker.training.data.examples import DataSource, LabelledData, LabelledText, Span, TaggedData, TaggedText
from worker.training.data.lines import shortened
from worker.training.data.sentences import Sentence, tagged_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from worker.training.data.examples import Data, ExampleT
    from worker.training.data.layout import Layout
    from worker.training.data.lines import Troubles

# What published data call their columns, the first that is there being meant.
_TEXT_NAMES = ("text", "sentence", "tweet", "content", "message", "review", "comment", "body", "document", "tokens", "words")
_SPAN_NAMES = ("spans", "entities")
_LABEL_NAMES = ("label", "labels", "class", "category", "sentiment", "target", *_SPAN_NAMES, "ner_tags", "tags")
# The number of the row, or of its line, and its values by column.
Row: TypeAlias = tuple[int, Mapping[str, object]]


class Value(NamedTuple):
    """What is read of a row."""

    line: int
    text: object
    label: object


class _Unfit(ValueError):
    """A value is not what its column should hold; the message says why."""


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The names of the two columns that are read."""

    text: str
    label: str


def build_data(path: Path, format_name: str, rows: Sequence[Row], layout: Layout, troubles: Troubles) -> Data:
    """Return what the rows of a file hold; raises `BadSettings` for what is broken, unless it is to be left out."""
    if not rows:
        troubles.raise_the_first()
        raise BadSettings(f"{path}: no row in it")
    columns = detect_columns(path, list(dict.fromkeys(name for _, row in rows for name in row)), layout)
    accepted = list(answers.accepted(rows, others={columns.text, columns.label}))
    if not accepted:
        raise BadSettings(f"{path}: its annotators rejected or skipped every text ({len(rows)})")
    found = _of_values(path, format_name, columns, list(_values(accepted, columns, troubles)), layout, troubles)
    if not found.texts:
        troubles.raise_the_first()
    source = replace(found.source, num_rejected=len(rows) - len(accepted))
    return replace(found, source=source)


def _of_values(
    path: Path, format_name: str, columns: TableColumns, values: Sequence[Value], layout: Layout, troubles: Troubles
) -> LabelledData | TaggedData:
    """Return labelled or tagged texts, by what the labels are."""
    read_as = f"{format_name}, text in {columns.text!r}, label in {columns.label!r}"
    first = next((it.label for it in values if it.label != []), [])
    if any(isinstance(it.text, list) for it in values[:1]):
        return _tagged_words(path, read_as, values, layout, troubles)
    if isinstance(first, list) and (any(isinstance(it, Mapping) for it in first) or (not first and columns.label in _SPAN_NAMES)):
        tagged = tuple(_read(values, _tagged, troubles))
        return TaggedData(DataSource(path, read_as, troubles.met), tagged)
    is_multi_label = isinstance(first, list) or layout.label_separator is not None
    labelled_of = partial(_labelled, separator=layout.label_separator, is_multi_label=is_multi_label)
    labelled = tuple(_read(values, labelled_of, troubles))
    return LabelledData(DataSource(path, read_as, troubles.met), labelled, is_multi_label)


def detect_columns(path: Path, names: Sequence[str], layout: Layout) -> TableColumns:
    """Return the columns that the layout names, or that are called what such columns are called."""
    text = _chosen(path, names, layout.text_column, _TEXT_NAMES, "text")
    others = [it for it in names if it != text]
    return TableColumns(text, _chosen(path, others, layout.label_column, _LABEL_NAMES, "label", all_names=names))


def has_usual_names(names: Iterable[str]) -> bool:
    """Tell whether a header is one of labelled texts."""
    lowered = {it.strip().lower() for it in names}
    return bool(lowered & set(_TEXT_NAMES)) and bool(lowered & set(_LABEL_NAMES))


def _chosen(
    path: Path, names: Sequence[str], given: str | None, usual: Sequence[str], what: str, *, all_names: Sequence[str] | None = None
) -> str:
    every = all_names or names
    if given is not None:
        if given in names:
            return given
        if given.isdecimal() and 1 <= int(given) <= len(every):
            return every[int(given) - 1]
        raise BadSettings(f"{path}: no column {given!r} for the {what}: its columns are {', '.join(every)}")
    by_lower = {it.lower(): it for it in reversed(names)}
    found = next((by_lower[it] for it in usual if it in by_lower), None)
    if found is None and all_names is not None and len(names) == 1:
        return names[0]
    if found is None:
        named_by = f"(--{what}-column, or {what}_column in a run's TOML file)"
        raise BadSettings(f"{path}: which column is the {what}? Name one of {', '.join(every)} {named_by}")
    return found


def _values(rows: Iterable[Row], columns: TableColumns, troubles: Troubles) -> Iterator[Value]:
    for line, row in rows:
        missing = [it for it in (columns.text, columns.label) if row.get(it) is None]
        if missing:
            troubles.add(line, f"no value for {missing[0]!r}")
        else:
            yield Value(line, row[columns.text], row[columns.label])


def _read(values: Iterable[Value], example_of: Callable[[Value], ExampleT], troubles: Troubles) -> Iterator[ExampleT]:
    for value in values:
        try:
            yield example_of(value)
        except _Unfit as unfit:
            troubles.add(value.line, str(unfit))


def _labelled(value: Value, separator: str | None, *, is_multi_label: bool) -> LabelledText:
    label = value.label
    if is_multi_label and separator is not None and isinstance(label, str):
        label = [part.strip() for part in label.split(separator) if part.strip()]
    if isinstance(label, list) is not is_multi_label:
        raise _Unfit(f"{'one label' if is_multi_label else 'a list'} where other rows have {'lists' if is_multi_label else 'one'}")
    labels = tuple(dict.fromkeys(map(_name, label if isinstance(label, list) else [label])))
    return LabelledText(_text(value), labels, value.line)


def _name(label: object) -> str:
    """Return the name of a label: what CSV would hold of it."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, int):
        return str(label)
    if isinstance(label, str) and label.strip():
        return label.strip()
    raise _Unfit(f"not a label (a name or a whole number): {shortened(label)}")


def _text(value: Value) -> str:
    if not isinstance(value.text, str):
        raise _Unfit(f"not a text: {shortened(value.text)}")
    return value.text


def _tagged(value: Value) -> TaggedText:
    text = _text(value)
    if not isinstance(value.label, list):
        raise _Unfit(f"not a list of spans: {shortened(value.label)}")
    spans = sorted((_span(it, len(text)) for it in value.label), key=lambda it: it.start)
    for one, next_one in pairwise(spans):
        if one.end > next_one.start:
            raise _Unfit(f"spans overlap: {one.start} to {one.end} and {next_one.start} to {next_one.end}")
    return TaggedText(text, tuple(spans), value.line)


def _span(value: object, length: int) -> Span:
    if not isinstance(value, Mapping):
        raise _Unfit(f"not a span: {shortened(value)}")
    start, end, kind = value.get("start"), value.get("end"), value.get("label", value.get("type"))
    if type(start) is not int or type(end) is not int or not isinstance(kind, str) or not kind:
        raise _Unfit(f"a span needs whole numbers start and end, and a label: {shortened(dict(value))}")
    if not 0 <= start < end <= length:
        raise _Unfit(f"span {start} to {end} is not inside the text, which has {length} characters")
    return Span(kind, start, end)


def _tagged_words(path: Path, read_as: str, values: Sequence[Value], layout: Layout, troubles: Troubles) -> TaggedData:
    sentences = list(_sentences(values, troubles))
    scheme = layout.scheme or schemes.detected(it.tags for it in sentences)
    foreign = {it: tag for it in sentences for tag in it.tags if not schemes.is_scheme_tag(tag, scheme)}
    for sentence, tag in foreign.items():
        troubles.add(sentence.lines[0], f"not a tag of {scheme}: {shortened(tag)}")
    kept = [it for it in sentences if it not in foreign]
    texts, malformed = tagged_texts(path, kept, scheme, joins_handles=layout.joins_handles)
    return TaggedData(DataSource(path, f"{read_as}, {scheme}", troubles.met, tuple(malformed)), tuple(texts))


def _sentences(values: Iterable[Value], troubles: Troubles) -> Iterator[Sentence]:
    for value in values:
        words, tags = value.text, value.label
        if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags) or not words:
            troubles.add(value.line, f"not as many tags as words: {shortened(tags)} for {shortened(words)}")
        elif reason := next(filter(None, map(_refuse_word, words, tags)), None):
            troubles.add(value.line, reason)
        else:
            yield Sentence(tuple(map(str, words)), tuple(tags), (value.line,) * len(words))


def _refuse_word(word: object, tag: object) -> str | None:
    """Return why a word or its tag cannot be read; None for a word (or number) with a tag."""
    if isinstance(word, bool) or not isinstance(word, str | int | float):
        return f"not a word: {shortened(word)}"
    if isinstance(tag, int | float) and not isinstance(tag, bool):
        return f"the tag {shortened(tag)} is a number: replace numbers by the names of the tags, such as B-PER"
    return None if isinstance(tag, str) and schemes.is_tag(tag) else f"not a tag: {shortened(tag)}"
