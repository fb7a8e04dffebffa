"""Escapes for output: characters that the encoding of a stream lacks, and characters that control a terminal."""

from __future__ import annotations

import codecs
import io
import re
import sys

_LAST_OF_PLANE_0 = 0xFFFF
# Controls, lone surrogates, line separators, and the characters that reverse the direction of the text after them.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CONTROLS_BUT_SPACES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str, *, keeps_lines: bool = False) -> str:
    """Return a text on one line whose control characters are escapes; `keeps_lines` keeps line ends and tabs."""
    pattern = _CONTROLS_BUT_SPACES if keeps_lines else CONTROLS
    return pattern.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escape_unencodable() -> None:
    """Make standard output and standard error write JSON escapes for characters that their encoding lacks.

    Without this, a single `é` in a terminal of ASCII raises `UnicodeEncodeError`. JSON with such escapes is still JSON.
    """
    codecs.register_error("gist-escape", _escape_error)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="gist-escape")


def _escape_error(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escape, error.object[error.start : error.end])), error.end


def _escape(char: str) -> str:
    number = ord(char)
    if number <= _LAST_OF_PLANE_0:
        return f"\\u{number:04x}"
    units = char.encode("utf-16-be").hex()
    return f"\\u{units[:4]}\\u{units[4:]}"
