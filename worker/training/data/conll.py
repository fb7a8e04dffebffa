"""Named-entity corpora in CoNLL form: a word and its tag a line, among other columns, and an empty line after each sentence.

Columns are parted by tabs or by blanks. A line that begins with `#` and is no row of the file is a comment. A line
`-DOCSTART-` is no word and ends a text, as do the comments by which CoNLL-U and OntoNotes begin and end documents. In a file that
numbers its words, as CoNLL-U does, ranges (`1-2`) and empty nodes (`1.1`) are no words.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from worker.errors import BadSettings
from worker.training.data import schemes
from worker.training.data.examples import DataSource, TaggedData
from worker.training.data.lines import Troubles, numbered, shortened
from worker.training.data.sentences import Sentence, tagged_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from worker.training.data.layout import Layout, Scheme

_NUM_LOOKED_AT = 5000
# A column holds the tags where nearly all of it are tags: a broken line or two change nothing about that.
_MOST, _MANY = 0.9, 0.5
_DOCUMENT = re.compile(r"(?:.*[ \t])?-DOC(?:START|END)-|# newdoc\b|# ?(?:begin|end) document\b")
_NUMBER = re.compile(r"\d+(?:[-.]\d+)?")
_FIRST_NUMBER = re.compile(r"[01](?:[-.]\d+)?")
_NO_WORD = "\N{REPLACEMENT CHARACTER}"


class ConllColumns(NamedTuple):
    """The columns of a file: how many they are, and which hold the words and the tags, from 0."""

    width: int
    word: int
    tag: int


class ConllRow(NamedTuple):
    """A line that is not empty, cut in columns."""

    line: int
    text: str
    fields: tuple[str, ...]


def read(path: Path, layout: Layout) -> TaggedData:
    """Read a file; raises `BadSettings` with file, line and reason."""
    troubles = Troubles(path, is_kept=layout.skips_broken)
    blocks = list(_without_ranges(list(_blocks(path))))
    rows = [row for block in blocks for row in block]
    if not rows:
        raise BadSettings(f"{path}: no word in it")
    columns = detect_columns(path, [row for row in rows if not row.text.startswith("#")] or rows, layout)
    blocks = [found for block in blocks if (found := [row for row in block if not _is_comment(row, columns)])]
    scheme = layout.scheme or schemes.detected(
        [row.fields[columns.tag] for row in block if len(row.fields) > columns.tag and schemes.is_tag(row.fields[columns.tag])]
        for block in blocks
    )
    sentences = list(_sentences(blocks, columns, scheme, troubles))
    if not sentences:
        troubles.raise_the_first()
    texts, malformed = tagged_texts(path, sentences, scheme, joins_handles=layout.joins_handles)
    read_as = f"CoNLL, {scheme}, words in column {columns.word + 1}, tags in column {columns.tag + 1} of {columns.width}"
    return TaggedData(DataSource(path, read_as, troubles.met, tuple(malformed)), tuple(texts))


def looks_like_it(lines: Iterable[str]) -> bool:
    """Tell whether these lines, the first of a file, could be of this form."""
    filled = [line for line in lines if line.strip() and not line.startswith("#") and not _DOCUMENT.match(line)]
    is_tabbed = _is_tabbed(filled)
    rows = [ConllRow(0, line, _cut(line, is_tabbed=is_tabbed)) for line in filled]
    fields = [row.fields for block in _without_ranges([rows]) for row in block]
    return bool(fields) and _tag_column(fields, Counter(map(len, fields)).most_common(1)[0][0], least=_MOST) is not None


def detect_columns(path: Path, rows: Sequence[ConllRow], layout: Layout) -> ConllColumns:
    """Return the columns, those that the layout names and those that are found; raises `BadSettings` where there are none."""
    count = Counter(len(row.fields) for row in rows).most_common(1)[0][0]
    first = next(row for row in rows if len(row.fields) == count)
    place, example = f"{path}:{first.line}", shortened(" ".join(first.fields))
    usual = [row.fields for row in rows if len(row.fields) == count][:_NUM_LOOKED_AT]
    if count < 2:  # noqa: PLR2004
        raise BadSettings(f"{place}: one column only, where a word and its tag are needed: {example}")
    tag = _given(path, layout.label_column, count)
    if tag is None:
        tag = _tag_column(usual, count, least=_MANY)
    if tag is None:
        raise BadSettings(f"{place}: no column of tags (O, B-…, I-…) among the {count} of the file: {example}")
    word = _given(path, layout.text_column, count)
    if word is None:
        candidates = [it for it in range(count) if it != tag]
        word = next((it for it in candidates if not _is_numbering([row[it] for row in usual])), candidates[0])
    return ConllColumns(count, word, tag)


def _given(path: Path, number: str | None, count: int) -> int | None:
    if number is None:
        return None
    if not number.isdecimal() or not 1 <= int(number) <= count:
        raise BadSettings(f"{path}: no column {number!r}: its columns are 1 to {count}")
    return int(number) - 1


def _tag_column(fields: Sequence[Sequence[str]], count: int, *, least: float) -> int | None:
    """Return the last column of which nearly all are tags, best one with entities; else the one with most of them."""
    columns = list(zip(*(it for it in fields if len(it) == count), strict=True))
    shares = [sum(map(schemes.is_tag, it)) / len(it) for it in columns]
    full = [number for number, share in enumerate(shares) if share >= _MOST]
    named = [number for number in full if set(columns[number]) != {schemes.OUTSIDE}]
    if full:
        return (named or full)[-1]
    best = max(range(count), key=lambda number: (shares[number], number))
    return best if shares[best] >= least else None


def _is_numbering(values: Sequence[str]) -> bool:
    """Tell whether a column numbers the words of each sentence, as CoNLL-U does."""
    is_number = [_NUMBER.fullmatch(value) is not None for value in values]
    return _FIRST_NUMBER.fullmatch(values[0]) is not None and sum(is_number) >= _MOST * len(values)


def _without_ranges(blocks: Sequence[Sequence[ConllRow]]) -> Iterator[Sequence[ConllRow]]:
    """Yield the blocks without ranges and empty nodes, where the first column that numbers the words has such."""
    rows = [row.fields for block in blocks for row in block if not row.text.startswith("#")]
    count = max(Counter(map(len, rows)).items(), key=lambda item: item[1], default=(0, 0))[0]
    columns = list(zip(*(fields for fields in rows if len(fields) == count), strict=True))
    # Of two columns, a word and its tag, none numbers the words.
    numbered_by = next((place for place, values in enumerate(columns) if count > 2 and _is_numbering(values)), None)  # noqa: PLR2004
    for block in blocks:
        if kept := [row for row in block if row.text.startswith("#") or not _is_range(row.fields, numbered_by)]:
            yield kept


def _is_range(fields: Sequence[str], numbered_by: int | None) -> bool:
    """Tell whether a row is a range or an empty node, by the column that numbers the words."""
    if numbered_by is None or numbered_by >= len(fields):
        return False
    return not fields[numbered_by].isdecimal() and _NUMBER.fullmatch(fields[numbered_by]) is not None


def _blocks(path: Path) -> Iterator[list[ConllRow]]:
    lines = list(numbered(path))
    is_tabbed = _is_tabbed([line for _, line in lines if not line.startswith("#")] or [line for _, line in lines])
    block: list[ConllRow] = []
    for number, line in [*lines, (0, "")]:
        if line.strip() and not _DOCUMENT.match(line):
            block.append(ConllRow(number, line, _cut(line, is_tabbed=is_tabbed)))
        elif block:
            yield block
            block = []


def _is_tabbed(lines: Sequence[str]) -> bool:
    return sum("\t" in line for line in lines) * 2 > sum(bool(line.strip()) for line in lines)


def _cut(line: str, *, is_tabbed: bool) -> tuple[str, ...]:
    return tuple(it.strip() for it in line.split("\t")) if is_tabbed else tuple(re.split("[ \t]+", line.strip(" \t")))


def _is_comment(row: ConllRow, columns: ConllColumns) -> bool:
    """Tell a comment from a word that begins with `#`: the word is in a row that has all columns, and a tag among them."""
    is_whole = len(row.fields) == columns.width
    if not row.text.startswith("#") or (is_whole and schemes.is_tag(row.fields[columns.tag])):
        return False
    return len(row.fields) == 1 or ("\t" not in row.text and (row.text.startswith("# ") or not is_whole))


def _sentences(
    blocks: Iterable[Sequence[ConllRow]], columns: ConllColumns, scheme: Scheme, troubles: Troubles
) -> Iterator[Sentence]:
    """Yield the sentences, all but those with a broken line: a sentence with a hole would teach what is not so."""
    for block in blocks:
        reasons = [(row.line, reason) for row in block if (reason := _reason_against(row, columns, scheme))]
        for line, reason in reasons:
            troubles.add(line, reason)
        if not reasons:
            yield Sentence(
                tuple(row.fields[columns.word] or _NO_WORD for row in block),
                tuple(row.fields[columns.tag] for row in block),
                tuple(row.line for row in block),
            )


def _reason_against(row: ConllRow, columns: ConllColumns, scheme: Scheme) -> str | None:
    if len(row.fields) != columns.width:
        return f"columns: {len(row.fields)} where the other lines have {columns.width}: {shortened(row.text)}"
    tag = row.fields[columns.tag]
    return None if schemes.is_scheme_tag(tag, scheme) else f"not a tag of {scheme}: {shortened(tag)}"
