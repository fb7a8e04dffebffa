"""The lines of a text file, numbered, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker.errors import BadSettings
from worker.training.data.examples import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file, without their ends, from 1; raises `BadSettings` where it is not there or not UTF-8.

    Only line feeds end a line: other characters that Python's own `splitlines` cuts at stand in the middle of real texts.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadSettings(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(content.removeprefix(_BYTE_ORDER_MARK).split(b"\n"), start=1):
        try:
            yield number, line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            reason = f"not UTF-8: 0x{line[error.start]:02x} at byte {error.start + 1}"
            raise BadSettings(str(Problem(path, number, reason))) from error


def shortened(text: object, length: int = 60) -> str:
    """Return how a value is shown in a message: quoted, and not longer than a line."""
    shown = repr(text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"
