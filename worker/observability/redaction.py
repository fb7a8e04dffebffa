"""What the logs of foreign libraries must not show: secrets, payloads, and the same line a hundred times a second."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from typing import Any

_SECRET = re.compile(r"(?i)(password|passwd|secret|token|sasl_\w+|auth\w*)(['\"]?\s*[=:]\s*)('[^']*'|\"[^\"]*\"|b'[^']*'|\S+)")
# A second of one foreign logger may show so many lines: a client whose broker is away repeats itself a hundred times a second.
_MAX_FOREIGN_LINES = 5


class Redacting(logging.Filter):
    """Holds back what a foreign library must not say: below INFO it prints payloads, and in a fault it repeats itself."""

    def __init__(self) -> None:
        """Start with no line counted."""
        super().__init__()
        # Lines that each logger wrote in the second that counts.
        self._num_lines: dict[tuple[str, int], int] = defaultdict(int)

    def filter(self, record: logging.LogRecord) -> bool:
        """Drop what is below INFO or too much; redact what remains."""
        if record.levelno < logging.INFO:
            return False
        second = int(record.created)
        if any(key[1] != second for key in self._num_lines):
            self._num_lines.clear()
        self._num_lines[record.name, second] += 1
        record.msg, record.args = redacted(record.getMessage()), ()
        return self._num_lines[record.name, second] <= _MAX_FOREIGN_LINES


def redacted(message: str) -> str:
    """Return a log message without the value of anything that is named like a secret."""
    return _SECRET.sub(r"\1\2***", message)


def only_foreign(redacting: Redacting) -> Any:
    """Return a filter that leaves our own lines alone: they are structured and few."""
    return lambda record: record.name == "gist-stream" or redacting.filter(record)
