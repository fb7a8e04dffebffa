"""Answers of annotators: rejected and skipped texts are no training data. Pure.

Prodigy writes `"answer": "accept"`, `"reject"` or `"ignore"` into each row, Label Studio `"was_cancelled": true`, and Argilla
`"status": "Discarded"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from worker.training.data.readers.rows import Row


class _Answers(NamedTuple):
    """The values of an annotation tool's column, in lower case."""

    accepted: frozenset[str]
    rejected: frozenset[str]


_ANSWERS = {
    "answer": _Answers(frozenset({"accept"}), frozenset({"reject", "ignore"})),
    "was_cancelled": _Answers(frozenset({"false", "0"}), frozenset({"true", "1"})),
    "status": _Answers(frozenset({"default", "edited", "validated"}), frozenset({"discarded"})),
}


def select_accepted(rows: Sequence[Row], *, others: Collection[str]) -> Iterator[Row]:
    """Yield the rows that no annotator rejected or skipped.

    A column holds answers if it has a tool's name, has only the tool's values, and is none of `others`. A column `answer` with
    other values belongs to the data.
    """
    columns = [name for name in _ANSWERS if name not in others and _holds_answers(rows, name)]
    for row in rows:
        if not any(_read_answer(row, name) in _ANSWERS[name].rejected for name in columns):
            yield row


def _holds_answers(rows: Sequence[Row], name: str) -> bool:
    known = _ANSWERS[name].accepted | _ANSWERS[name].rejected | {""}
    return all(_read_answer(row, name) in known for row in rows)


def _read_answer(row: Row, name: str) -> str:
    """Return the answer of a row in lower case; an empty text if the row has none."""
    value = row[1].get(name)
    return "" if value is None else str(value).strip().lower()
