"""The objects of a file that is one JSON array, each with its line. Pure."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import orjson

from worker.training.data.lines import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from worker.training.data.lines import Troubles
    from worker.training.data.rows import Row

_START = re.compile(r"\s*\[\s*(\{|\]?\s*$)")
_SEPARATOR = re.compile(r"\s*,?\s*")


def looks_like_it(lines: Iterable[str]) -> bool:
    """Tell by the first of some lines that are not blank whether a file is one array of objects."""
    return _START.match(next(iter(lines), "")) is not None


def objects(text: str, troubles: Troubles) -> Iterator[Row]:
    """Yield the objects of an array, each with the line where it begins; what follows broken JSON is not read."""
    decoder = json.JSONDecoder()
    place = _next(text, text.index("[") + 1)
    line = 1 + text.count("\n", 0, place)
    while not text.startswith("]", place):
        try:
            _, end = decoder.raw_decode(text, place)
            # The strict parser, which refuses what is no JSON (NaN, half a surrogate pair), gives the value.
            value = orjson.loads(text[place:end])
        except (ValueError, RecursionError) as error:
            troubles.add(line, f"not JSON: {getattr(error, 'msg', error)}; what follows is not read")
            return
        if isinstance(value, dict):
            yield line, value
        else:
            troubles.add(line, f"not a JSON object: {shortened(text[place:end])}")
        following = _next(text, end)
        line += text.count("\n", place, following)
        place = following
    if text[place + 1 :].strip():
        troubles.add(line, "content after the end of the array; what follows is not read")


def _next(text: str, place: int) -> int:
    """Return where the next value begins, or the array ends."""
    found = _SEPARATOR.match(text, place)
    return place if found is None else found.end()
