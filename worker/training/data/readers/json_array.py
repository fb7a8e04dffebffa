"""Files with one JSON array: its objects with their lines. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import orjson

from worker.training.data.readers.lines import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from worker.training.data.readers.lines import Problems
    from worker.training.data.readers.rows import Row

_START = re.compile(r"\s*\[\s*(\{|\]?\s*$)")
_SEPARATOR = re.compile(r"\s*,?\s*")


def is_array(lines: Iterable[str]) -> bool:
    """Return whether the first line that is not blank begins an array of objects."""
    return _START.match(next(iter(lines), "")) is not None


def read_objects(text: str, problems: Problems) -> Iterator[Row]:
    """Yield the objects of an array with the lines at which they begin; reading ends at broken JSON."""
    decoder = json.JSONDecoder()
    index = _find_next(text, text.index("[") + 1)
    line = 1 + text.count("\n", 0, index)
    while not text.startswith("]", index):
        try:
            _, end = decoder.raw_decode(text, index)
            # orjson is strict: NaN and half a surrogate pair are refused.
            value = orjson.loads(text[index:end])
        except (ValueError, RecursionError) as error:
            problems.add(line, f"not JSON: {getattr(error, 'msg', error)}; the rest is not read")
            return
        if isinstance(value, dict):
            yield line, value
        else:
            problems.add(line, f"not a JSON object: {shorten(text[index:end])}")
        following = _find_next(text, end)
        line += text.count("\n", index, following)
        index = following
    if text[index + 1 :].strip():
        problems.add(line, "content after the end of the array; the rest is not read")


def _find_next(text: str, index: int) -> int:
    """Return the index of the next value, or of the end of the array."""
    found = _SEPARATOR.match(text, index)
    return index if found is None else found.end()
