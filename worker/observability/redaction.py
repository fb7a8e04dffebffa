"""A filter for the logs of libraries: no secrets, no payloads, and a limit of lines per second."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from typing import Any

_SECRET = re.compile(r"(?i)(password|passwd|secret|token|sasl_\w+|auth\w*)(['\"]?\s*[=:]\s*)('[^']*'|\"[^\"]*\"|b'[^']*'|\S+)")
# Maximum lines of one logger per second: a client without a broker logs the same line a hundred times per second.
_MAX_FOREIGN_LINES = 5
# aiokafka warns of each heartbeat during a rebalance, also while a member joins as usual. The worker logs the partitions instead.
_USUAL = re.compile("Heartbeat failed for group .* because it is rebalancing")


class Redacting(logging.Filter):
    """Drops lines below INFO, which contain payloads, lines about usual rebalances, and lines above a rate; removes secrets."""

    def __init__(self) -> None:
        """Start with no line counted."""
        super().__init__()
        # Lines of each logger in the present second.
        self._num_lines: dict[tuple[str, int], int] = defaultdict(int)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is logged; its secrets are removed."""
        if record.levelno < logging.INFO or _USUAL.fullmatch(record.getMessage()):
            return False
        second = int(record.created)
        if any(key[1] != second for key in self._num_lines):
            self._num_lines.clear()
        self._num_lines[record.name, second] += 1
        record.msg, record.args = redacted(record.getMessage()), ()
        return self._num_lines[record.name, second] <= _MAX_FOREIGN_LINES


def redacted(message: str) -> str:
    """Return a log message without the values of names such as `password` or `token`."""
    return _SECRET.sub(r"\1\2***", message)


def only_foreign(redacting: Redacting) -> Any:
    """Return a filter that passes the lines of the worker, which have no secrets, and filters those of libraries."""
    return lambda record: record.name == "gist-stream" or redacting.filter(record)
