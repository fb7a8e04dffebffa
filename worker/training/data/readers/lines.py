"""Numbered lines of a text file, and their problems."""

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
_NUM_INSPECTED_BYTES = 1000
# The first bytes of files that are no text.
_OTHER_FILES = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a ZIP archive or a spreadsheet", b"\x1f\x8b": "compressed with gzip"}


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line numbers from 1 and lines without their ends; raises `BadSettings` for an unreadable file.

    The encoding is UTF-8, or UTF-16 with a byte order mark. LF, CR LF and CR end a line, also mixed in one file. CR CR LF, the
    result of a second conversion of CR LF, is one end. Other characters at which `str.splitlines` cuts occur within texts. A byte
    order mark at the start of a later line, from a concatenation of files, is removed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadSettings(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(_LINE_END.split(_convert_to_utf8(path, content)), start=1):
        try:
            yield number, line.removeprefix(codecs.BOM_UTF8).decode()
        except UnicodeDecodeError as error:
            reason = f"not UTF-8: 0x{line[error.start]:02x} at byte {error.start + 1}"
            raise BadSettings(str(Problem(path, number, reason))) from error


def _convert_to_utf8(path: Path, content: bytes) -> bytes:
    """Return the content in UTF-8; raises `BadSettings` for broken UTF-16, UTF-16 without a byte order mark, and other files."""
    if kind := next((kind for start, kind in _OTHER_FILES.items() if content.startswith(start)), None):
        raise BadSettings(f"{path}: the file is {kind}: save its texts as JSON lines or CSV")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            content = content.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise BadSettings(f"{path}: broken UTF-16 at byte {error.start + 1}: save the file as UTF-8") from error
    start = content[:_NUM_INSPECTED_BYTES]
    if max(start[0::2].count(0), start[1::2].count(0)) * 4 > len(start):
        raise BadSettings(f"{path}: many bytes are zero, as in UTF-32, or UTF-16 without a byte order mark: save the file as UTF-8")
    return content


def shorten(text: object, length: int = 60) -> str:
    """Return a value for a message: quoted, and at most `length` characters."""
    shown = repr(text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"
