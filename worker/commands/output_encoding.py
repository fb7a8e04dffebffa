"""Characters that the encoding of the terminal lacks are written as JSON's escapes, so that JSON stays JSON."""

from __future__ import annotations

import codecs
import io
import sys

_LAST_OF_PLANE_0 = 0xFFFF


def escape_unencodable() -> None:
    """Let standard output and standard error escape what their encoding lacks; without this a single `é` is a traceback."""
    codecs.register_error("gist-escape", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="gist-escape")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escape, error.object[error.start : error.end])), error.end


def _escape(char: str) -> str:
    number = ord(char)
    if number <= _LAST_OF_PLANE_0:
        return f"\\u{number:04x}"
    units = char.encode("utf-16-be").hex()
    return f"\\u{units[:4]}\\u{units[4:]}"
