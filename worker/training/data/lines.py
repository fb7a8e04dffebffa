"""The lines of a text file, numbered, and what is wrong with them."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.training.data.examples import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LINE_END = re.compile(rb"\r{0,2}\n|\r")
_NUM_BYTES_LOOKED_AT = 1000


class Troubles:
    """What is broken in a file: the first of it ends the reading, or all of it is kept."""

    def __init__(self, path: Path, *, is_kept: bool) -> None:
        """Begin with none."""
        self._path = path
        self._is_kept = is_kept
        # In the order in which they were met.
        self._met: list[Problem] = []

    def add(self, line: int, reason: str) -> None:
        """Keep a problem, or raise it as `BadSettings`."""
        problem = Problem(self._path, line, reason)
        if not self._is_kept:
            raise BadSettings(str(problem))
        self._met.append(problem)

    @property
    def met(self) -> tuple[Problem, ...]:
        """What was kept."""
        return tuple(self._met)

    def raise_the_first(self) -> None:
        """Raise the first problem, if there is one, as `BadSettings`: nothing of the file can be read."""
        if self._met:
            more = f" (and {len(self._met) - 1} more)" if len(self._met) > 1 else ""
            raise BadSettings(f"{self._met[0]}{more}; nothing of the file can be read")


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file, without their ends, from 1; raises `BadSettings` where the file cannot be read.

    The text is UTF-8, or UTF-16 with a byte order mark. LF, CR LF and CR end a line, also mixed in one file; CR CR LF, which a
    second conversion of CR LF writes, is one end. Other characters at which Python's own `splitlines` cuts occur within real texts.
    A byte order mark at the start of a later line, where files were joined, is no part of its text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadSettings(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(_LINE_END.split(_as_utf8(path, content)), start=1):
        try:
            yield number, line.removeprefix(codecs.BOM_UTF8).decode()
        except UnicodeDecodeError as error:
            reason = f"not UTF-8: 0x{line[error.start]:02x} at byte {error.start + 1}"
            raise BadSettings(str(Problem(path, number, reason))) from error


def _as_utf8(path: Path, content: bytes) -> bytes:
    """Return the content in UTF-8; raises `BadSettings` for UTF-16 that is broken or has no byte order mark."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise BadSettings(f"{path}: UTF-16 that breaks at byte {error.start + 1}: save the file as UTF-8") from error
    start = content[:_NUM_BYTES_LOOKED_AT]
    if max(start[0::2].count(0), start[1::2].count(0)) * 4 > len(start):
        raise BadSettings(f"{path}: every second byte is zero, as in UTF-16 without a byte order mark: save the file as UTF-8")
    return content


def shortened(text: object, length: int = 60) -> str:
    """Return how a value is shown in a message: quoted, and not longer than a line."""
    shown = repr(text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"
