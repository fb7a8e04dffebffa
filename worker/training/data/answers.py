"""What annotators answered: texts that they rejected or skipped are no training data. Pure.

Prodigy writes `"answer": "accept"`, `"reject"` or `"ignore"` into each row, Label Studio `"was_cancelled": true`, and Argilla
`"status": "Discarded"`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from worker.training.data.rows import Row


class _Answers(NamedTuple):
    """The answers that a tool writes into a column, in lower case."""

    kept: frozenset[str]
    left_out: frozenset[str]


_ANSWERS = {
    "answer": _Answers(frozenset({"accept"}), frozenset({"reject", "ignore"})),
    "was_cancelled": _Answers(frozenset({"false", "0"}), frozenset({"true", "1"})),
    "status": _Answers(frozenset({"default", "edited", "validated"}), frozenset({"discarded"})),
}


def accepted(rows: Sequence[Row], *, others: Collection[str]) -> Iterator[Row]:
    """Yield the rows that no annotator rejected or skipped.

    A column is one of answers where it has the name that a tool gives it, is none of `others`, and holds nothing but the tool's
    answers: a column `answer` with other values is one of the data.
    """
    columns = [name for name in _ANSWERS if name not in others and _holds_answers(rows, name)]
    for row in rows:
        if not any(_answer_in(row, name) in _ANSWERS[name].left_out for name in columns):
            yield row


def _holds_answers(rows: Sequence[Row], name: str) -> bool:
    known = _ANSWERS[name].kept | _ANSWERS[name].left_out | {""}
    return all(_answer_in(row, name) in known for row in rows)


def _answer_in(row: Row, name: str) -> str:
    """Return the answer of a row in lower case; nothing where the row has none."""
    value = row[1].get(name)
    return "" if value is None else str(value).strip().lower()
