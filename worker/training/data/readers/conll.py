"""Named-entity corpora in CoNLL form: one word with its tag per line, and an empty line after each sentence.

Columns are separated by tabs or spaces. A line that begins with `#` and has no tag is a comment. A document ends at `-DOCSTART-`,
`-DOCEND-`, and the comments for documents of CoNLL-U and OntoNotes. In a file with numbered words, as in CoNLL-U, ranges (`1-2`)
and empty nodes (`1.1`) are no words.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from worker.errors import BadSettings
from worker.training.data import schemes
from worker.training.data.examples import DataSource, Problem, TaggedData
from worker.training.data.readers.lines import read_lines, shorten
from worker.training.data.schemes import Sentence, build_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from worker.training.data.layout import Layout, Scheme

_NUM_INSPECTED_ROWS = 5000
# A column holds the tags if most of its values are tags: a broken line does not change that.
_MIN_SHARE, _MIN_SHARE_OF_BEST = 0.9, 0.5
_DOCUMENT = re.compile(r"(?:.*[ \t])?-DOC(?:START|END)-|# newdoc\b|# ?(?:begin|end) document\b")
_NUMBER = re.compile(r"\d+(?:[-.]\d+)?")
_FIRST_NUMBER = re.compile(r"[01](?:[-.]\d+)?")
_NO_WORD = "\N{REPLACEMENT CHARACTER}"


class ConllColumns(NamedTuple):
    """The number of columns of a file, and the indices of the columns with words and tags."""

    width: int
    word: int
    tag: int


class ConllRow(NamedTuple):
    """A line that is not empty, split into columns."""

    line: int
    text: str
    fields: tuple[str, ...]


def read(path: Path, layout: Layout) -> TaggedData:
    """Read a file; raises `BadSettings` with file, line and reason."""
    broken: list[Problem] = []
    blocks = list(_remove_ranges(list(_read_blocks(path))))
    rows = [row for block in blocks for row in block]
    if not rows:
        raise BadSettings(f"{path}: the file has no word")
    columns = detect_columns(path, [row for row in rows if not row.text.startswith("#")] or rows, layout)
    blocks = [found for block in blocks if (found := [row for row in block if not _is_comment(row, columns)])]
    scheme = layout.scheme or schemes.detect_scheme(
        [row.fields[columns.tag] for row in block if len(row.fields) > columns.tag and schemes.is_tag(row.fields[columns.tag])]
        for block in blocks
    )
    sentences = list(_build_sentences(path, blocks, columns, scheme, broken))
    texts, malformed = build_texts(path, sentences, scheme, joins_handles=layout.joins_handles)
    read_as = f"CoNLL, {scheme}, words in column {columns.word + 1}, tags in column {columns.tag + 1} of {columns.width}"
    return TaggedData(DataSource(path, read_as, tuple(broken), tuple(malformed)), tuple(texts))


def is_conll(lines: Iterable[str]) -> bool:
    """Return whether the first lines of a file have CoNLL form."""
    filled = [line for line in lines if line.strip() and not line.startswith("#") and not _DOCUMENT.match(line)]
    is_tabbed = _is_tabbed(filled)
    rows = [ConllRow(0, line, _split_line(line, is_tabbed=is_tabbed)) for line in filled]
    fields = [row.fields for block in _remove_ranges([rows]) for row in block]
    return bool(fields) and _find_tag_column(fields, Counter(map(len, fields)).most_common(1)[0][0], least=_MIN_SHARE) is not None


def detect_columns(path: Path, rows: Sequence[ConllRow], layout: Layout) -> ConllColumns:
    """Return the columns that the layout names, else the detected columns; raises `BadSettings` if there are none."""
    count = Counter(len(row.fields) for row in rows).most_common(1)[0][0]
    first = next(row for row in rows if len(row.fields) == count)
    location, example = f"{path}:{first.line}", shorten(" ".join(first.fields))
    usual = [row.fields for row in rows if len(row.fields) == count][:_NUM_INSPECTED_ROWS]
    if count < 2:  # noqa: PLR2004
        raise BadSettings(f"{location}: only one column; a word and its tag are needed: {example}")
    tag = _parse_column(path, layout.label_column, count)
    if tag is None:
        tag = _find_tag_column(usual, count, least=_MIN_SHARE_OF_BEST)
    if tag is None:
        raise BadSettings(f"{location}: no column of tags (O, B-…, I-…) among the {count} columns: {example}")
    word = _parse_column(path, layout.text_column, count)
    if word is None:
        candidates = [number for number in range(count) if number != tag]
        word = next((candidate for candidate in candidates if not _is_numbering([row[candidate] for row in usual])), candidates[0])
    return ConllColumns(count, word, tag)


def _parse_column(path: Path, number: str | None, count: int) -> int | None:
    if number is None:
        return None
    if not number.isdecimal() or not 1 <= int(number) <= count:
        raise BadSettings(f"{path}: no column {number!r}: its columns are 1 to {count}")
    return int(number) - 1


def _find_tag_column(fields: Sequence[Sequence[str]], count: int, *, least: float) -> int | None:
    """Return the last column in which most values are tags, preferably with entities; else the column with most tags."""
    columns = list(zip(*(field for field in fields if len(field) == count), strict=True))
    shares = [sum(map(schemes.is_tag, column)) / len(column) for column in columns]
    full = [number for number, share in enumerate(shares) if share >= _MIN_SHARE]
    named = [number for number in full if set(columns[number]) != {schemes.OUTSIDE}]
    if full:
        return (named or full)[-1]
    best = max(range(count), key=lambda number: (shares[number], number))
    return best if shares[best] >= least else None


def _is_numbering(values: Sequence[str]) -> bool:
    """Return whether a column numbers the words of each sentence, as in CoNLL-U."""
    is_number = [_NUMBER.fullmatch(value) is not None for value in values]
    return _FIRST_NUMBER.fullmatch(values[0]) is not None and sum(is_number) >= _MIN_SHARE * len(values)


def _remove_ranges(blocks: Sequence[Sequence[ConllRow]]) -> Iterator[Sequence[ConllRow]]:
    """Yield the blocks without the ranges and empty nodes of the first column that numbers words."""
    rows = [row.fields for block in blocks for row in block if not row.text.startswith("#")]
    count = max(Counter(map(len, rows)).items(), key=lambda item: item[1], default=(0, 0))[0]
    columns = list(zip(*(fields for fields in rows if len(fields) == count), strict=True))
    # Two columns are a word and its tag.
    numbered_by = next((column for column, values in enumerate(columns) if count > 2 and _is_numbering(values)), None)  # noqa: PLR2004
    for block in blocks:
        if kept := [row for row in block if row.text.startswith("#") or not _is_range(row.fields, numbered_by)]:
            yield kept


def _is_range(fields: Sequence[str], numbered_by: int | None) -> bool:
    """Return whether a row is a range or an empty node; `numbered_by` is the column that numbers words."""
    if numbered_by is None or numbered_by >= len(fields):
        return False
    return not fields[numbered_by].isdecimal() and _NUMBER.fullmatch(fields[numbered_by]) is not None


def _read_blocks(path: Path) -> Iterator[list[ConllRow]]:
    lines = list(read_lines(path))
    is_tabbed = _is_tabbed([line for _, line in lines if not line.startswith("#")] or [line for _, line in lines])
    block: list[ConllRow] = []
    for number, line in [*lines, (0, "")]:
        if line.strip() and not _DOCUMENT.match(line):
            block.append(ConllRow(number, line, _split_line(line, is_tabbed=is_tabbed)))
        elif block:
            yield block
            block = []


def _is_tabbed(lines: Sequence[str]) -> bool:
    return sum("\t" in line for line in lines) * 2 > sum(bool(line.strip()) for line in lines)


def _split_line(line: str, *, is_tabbed: bool) -> tuple[str, ...]:
    return tuple(part.strip() for part in line.split("\t")) if is_tabbed else tuple(re.split("[ \t]+", line.strip(" \t")))


def _is_comment(row: ConllRow, columns: ConllColumns) -> bool:
    """Return whether a row is a comment: a word that begins with `#` has all columns, and a tag among them."""
    is_whole = len(row.fields) == columns.width
    if not row.text.startswith("#") or (is_whole and schemes.is_tag(row.fields[columns.tag])):
        return False
    return len(row.fields) == 1 or ("\t" not in row.text and (row.text.startswith("# ") or not is_whole))


def _build_sentences(
    path: Path, blocks: Iterable[Sequence[ConllRow]], columns: ConllColumns, scheme: Scheme, broken: list[Problem]
) -> Iterator[Sentence]:
    """Yield the sentences without a broken line: a sentence with a missing word would teach wrong entities."""
    for block in blocks:
        problems = [Problem(path, row.line, reason) for row in block if (reason := _find_problem(row, columns, scheme))]
        broken += problems
        if not problems:
            yield Sentence(
                tuple(row.fields[columns.word] or _NO_WORD for row in block),
                tuple(row.fields[columns.tag] for row in block),
                tuple(row.line for row in block),
            )


def _find_problem(row: ConllRow, columns: ConllColumns, scheme: Scheme) -> str | None:
    if len(row.fields) != columns.width:
        return f"{len(row.fields)} columns; the other lines have {columns.width}: {shorten(row.text)}"
    tag = row.fields[columns.tag]
    return None if schemes.is_scheme_tag(tag, scheme) else f"not a tag of {scheme}: {shorten(tag)}"
